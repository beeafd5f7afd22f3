"""The cache and the cold storages, read as streams and never through DVC's own repairs."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from luna.audit.finding import CACHE, Where, cold
from luna.storage import cache
from luna.storage.cold import Store

#: An object opened to be read.
Stream = io.RawIOBase | io.BufferedIOBase


class NotARegularFile(Exception):
    """Something other than a regular file is where an object should be."""


class Place(Protocol):
    """Where objects lie by their hash: the cache, or a store of cold storage."""

    @property
    def where(self) -> Where:
        """The place, as findings name it."""

    @property
    def thinned(self) -> frozenset[str]:
        """Objects that were taken out on purpose: they are not looked for."""

    def size(self, md5: str) -> int | None:
        """Bytes of the object there, None where there is none. Raises NotARegularFile, or what the store raises."""
        ...

    def open(self, md5: str) -> Stream:
        """The object's bytes, to be read."""


def plain_size(path: Path) -> int | None:
    """Size without following a link: a link in a store may lead anywhere, and its target is no copy."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise NotARegularFile(
            "a symbolic link"
            if stat.S_ISLNK(status.st_mode)
            else "a folder"
            if stat.S_ISDIR(status.st_mode)
            else "a device"
        )
    return status.st_size


@dataclass(frozen=True)
class Cache:
    """DVC's cache of this clone."""

    root: Path
    where: Where = CACHE
    thinned: frozenset[str] = frozenset()

    def size(self, md5: str) -> int | None:
        """Bytes of the object; None where it is missing."""
        return plain_size(cache.path_of(self.root, md5))

    def open(self, md5: str) -> Stream:
        """The object's bytes, to be read."""
        return cache.path_of(self.root, md5).open("rb", buffering=0)


@dataclass(frozen=True)
class Cold:
    """``thinned``: objects that were taken out of the store on purpose; they are not looked for."""

    store: Store
    thinned: frozenset[str] = frozenset()

    @property
    def where(self) -> Where:
        """The place, as findings name it."""
        return cold(self.store.name)

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return self.store.odb.fs.protocol == "local"

    def size(self, md5: str) -> int | None:
        """Bytes of the object; None where it is missing."""
        path = self.store.path(md5)
        if self.is_local:
            return plain_size(Path(path))
        try:
            return self.store.odb.fs.info(path)["size"]
        except FileNotFoundError:
            return None

    def open(self, md5: str) -> Stream:
        """The object's bytes, to be read."""
        path = self.store.path(md5)
        return (
            Path(path).open("rb", buffering=0)
            if self.is_local
            else self.store.odb.fs.open(path, "rb")
        )
