"""DVC's cache on this machine: objects looked up and checked without starting DVC."""

from __future__ import annotations

from pathlib import Path

from luna import files
from luna.storage import config


def home(root: Path) -> Path:
    """The cache folder, as DVC itself finds it."""
    return config.cache_folder(root)


def path_of(root: Path, md5: str) -> Path:
    """Where the object belongs in the cache."""
    return home(root) / "files" / "md5" / md5[:2] / md5[2:]


def find(root: Path, md5: str) -> Path | None:
    """The object in the cache; None where it is missing."""
    path = path_of(root, md5)
    return path if path.is_file() else None


def is_whole(path: Path, md5: str) -> bool:
    """Whether the file's bytes have this hash."""
    return path.is_file() and files.digest(path, "md5") == md5.removesuffix(".dir")
