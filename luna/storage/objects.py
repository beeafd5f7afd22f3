"""Objects by hash, taken from the cache or brought there from cold storage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from luna import files
from luna.errors import ColdStorageError
from luna.repo import quarantine
from luna.storage import cache, cold
from luna.storage.cold import Store


def listing(root: Path, md5: str) -> dict[str, str]:
    """Files of a folder object: relative path -> md5."""
    path = cache.find(root, md5) or fetch(root, md5)
    return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}


def expanded(root: Path, md5s: list[str]) -> list[str]:
    """Outputs with the files of each folder, its listing last: an interrupted copy never has a listing without its files."""
    objects: dict[str, None] = {}
    for md5 in md5s:
        if md5.endswith(".dir"):
            objects.update(dict.fromkeys(sorted(listing(root, md5).values())))
        objects[md5] = None
    return list(objects)


def fetch(root: Path, md5: str, stores: Sequence[Store] | None = None) -> Path:
    """Bring one object from cold storage (all of it, or the ``stores`` given) into the cache, complete or not at all.

    Raises:
        ColdStorageError: no store has it, or what came back does not match its hash.
    """
    target = cache.path_of(root, md5)
    if cache.find(root, md5):
        return target
    failures = []
    for store in cold.open_all(root) if stores is None else stores:
        try:
            with files.replacing(target, mode=0o444) as temporary:
                store.download(md5, temporary)
                if not cache.is_whole(temporary, md5):
                    raise ColdStorageError(
                        f"Cold storage gave wrong bytes for object {md5[:12]}: nothing was taken from it; check {store.name}."
                    )
            return target
        except ColdStorageError as failure:
            failures.append(failure)
    raise failures[0]


def whole(root: Path, md5: str, stores: Sequence[Store] | None = None) -> tuple[Path, bool]:
    """The path of one object whose bytes were checked, and whether it came from cold storage.

    A damaged copy in the cache goes to quarantine/ and is fetched again.

    Raises:
        ColdStorageError: no store has an intact copy.
    """
    path = cache.find(root, md5)
    if path and cache.is_whole(path, md5):
        return path, False
    if path:
        quarantine.aside(root, path, md5)
    return fetch(root, md5, stores), True
