"""DVC's cache on this machine: content-addressed objects, found and checked without starting DVC."""

from __future__ import annotations

import functools
from pathlib import Path

from luna import files


@functools.lru_cache(maxsize=8)
def home(root: Path) -> Path:
    """The cache folder, as .dvc/config and .dvc/config.local set it (``cache.dir``)."""
    import configparser

    place = root / ".dvc" / "cache"
    for name in ("config", "config.local"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(root / ".dvc" / name)
        if parser.has_option("cache", "dir"):
            place = (root / ".dvc" / Path(parser.get("cache", "dir")).expanduser()).resolve()
    return place


def place(root: Path, md5: str) -> Path:
    """Where the object belongs in the cache."""
    return home(root) / "files" / "md5" / md5[:2] / md5[2:]


def find(root: Path, md5: str) -> Path | None:
    """The object in the cache; None where it is missing."""
    path = place(root, md5)
    return path if path.is_file() else None


def is_whole(path: Path, md5: str) -> bool:
    """Whether the file's bytes have this hash."""
    return path.is_file() and files.digest(path, "md5") == md5.removesuffix(".dir")
