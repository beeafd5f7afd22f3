"""DVC's cache on this machine: content-addressed objects, found and checked without starting DVC."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from luna import files
from luna.errors import ColdStorageError


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
    return home(root) / "files" / "md5" / md5[:2] / md5[2:]


def find(root: Path, md5: str) -> Path | None:
    path = place(root, md5)
    return path if path.is_file() else None


def is_whole(path: Path, md5: str) -> bool:
    return path.is_file() and files.digest(path, "md5") == md5.removesuffix(".dir")


def listing(root: Path, md5: str) -> dict[str, str]:
    """Files of a folder object: relative path -> md5."""
    path = find(root, md5) or fetch(root, md5)
    return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}


def objects(root: Path, md5s: list[str]) -> list[str]:
    """The objects behind outputs: a folder's listing comes after all its files, so it never stands without them."""
    found: dict[str, None] = {}
    for md5 in md5s:
        if md5.endswith(".dir"):
            found.update(dict.fromkeys(sorted(listing(root, md5).values())))
        found[md5] = None
    return list(found)


def fetch(root: Path, md5: str) -> Path:
    """Bring one object from cold storage into the cache, whole or not at all.

    Raises:
        ColdStorageError: no store has it, or what came back does not have its hash.
    """
    from luna.history import cold

    target = place(root, md5)
    if find(root, md5):
        return target
    failures = []
    for store in cold.open_all(root):
        try:
            with files.replacing(target) as temporary:
                store.download(md5, temporary)
                if not is_whole(temporary, md5):
                    raise ColdStorageError(f"Cold storage gave wrong bytes for object {md5[:12]}: nothing was taken from it; check {store.name}.")
            target.chmod(0o444)
            return target
        except ColdStorageError as failure:
            failures.append(failure)
    raise failures[0]


def whole(root: Path, md5: str) -> tuple[Path, bool]:
    """One object with its bytes checked, and whether it came from cold storage. A damaged one is set aside and fetched again.

    Raises:
        ColdStorageError: no store has it whole.
    """
    from luna.history import quarantine

    path = find(root, md5)
    if path and is_whole(path, md5):
        return path, False
    if path:
        quarantine.aside(root, path, md5)
    return fetch(root, md5), True
