"""A folder as DVC keeps one: each file an object by its MD5, and a listing of them all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from luna import artifacts, files
from luna.errors import InputError
from luna.repo import quarantine
from luna.storage import cache

_OWN = (
    ".git",
    ".dvc",
    artifacts.SCRATCH.as_posix(),
)  # of the repository itself: it changes while it is read


@dataclass(frozen=True)
class File:
    """``path`` is relative to the folder, with slashes; ``bytes`` its length."""

    path: str
    bytes: int
    md5: str
    sha256: str


def check(root: Path, folder: Path) -> Path:
    """The folder's true place. Raises InputError when it cannot be kept."""
    place = folder.resolve()
    if not place.is_dir():
        raise InputError(f"{folder} is no folder: give the path of the folder to keep.")
    root = root.resolve()
    if root.is_relative_to(place) or any(place.is_relative_to(root / own) for own in _OWN):
        raise InputError(
            f"{folder} holds the repository itself, or is a part of it that changes while it is read: give a folder in it or beside it."
        )
    return place


def read(folder: Path) -> list[File]:
    """Every file, hashed, in the order of its path.

    A link to a file inside is taken as that file. Raises InputError for an empty folder, and for anything that would
    not come back as it was: a link that leads out or to a folder, a pipe, a name that is not UTF-8.
    """
    found = []
    for path in _paths(folder):
        with path.open("rb") as file:
            size, md5, sha256 = _digests(file)
        found.append(File(path.relative_to(folder).as_posix(), size, md5, sha256))
    if not found:
        raise InputError(f"{folder} holds no file: there is nothing to keep.")
    return sorted(found, key=lambda file: file.path)


def _paths(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}): nothing was kept.")

    found = []
    for place, folders, names in os.walk(folder, onerror=fail):
        for name in (*folders, *names):
            path = Path(place) / name
            try:
                name.encode()
            except UnicodeEncodeError:
                raise InputError(
                    f"The name {name!r} in {place} is not UTF-8: rename it; nothing was kept."
                ) from None
            if "\\" in name or "\n" in name:
                raise InputError(
                    f"The name {name!r} in {place} holds a backslash or a line's end, which no path here may: rename it; nothing was kept."
                )
            if path.is_symlink() and (
                not path.is_file() or not path.resolve().is_relative_to(folder)
            ):
                raise InputError(
                    f"{path} is a link that leads out of the folder, to a folder or to nothing: put the file itself there; nothing was kept."
                )
        for name in names:
            path = Path(place) / name
            if not stat.S_ISREG(path.stat().st_mode):
                raise InputError(
                    f"{path} is no file that can be kept: take it out of the folder; nothing was kept."
                )
            if not os.access(path, os.R_OK):
                raise InputError(f"{path} cannot be read: make it readable; nothing was kept.")
            found.append(path)
    return found


def _digests(file: BinaryIO, copy: BinaryIO | None = None) -> tuple[int, str, str]:
    """Length, MD5 and SHA-256 of what is read, copied on the way where ``copy`` is given."""
    size, md5, sha256 = 0, hashlib.md5(usedforsecurity=False), hashlib.sha256()
    while chunk := file.read(files.CHUNK_BYTES):
        size += len(chunk)
        md5.update(chunk)
        sha256.update(chunk)
        if copy:
            copy.write(chunk)
    return size, md5.hexdigest(), sha256.hexdigest()


def listing(found: list[File]) -> bytes:
    """The listing's bytes as DVC writes them (dvc_data.hashfile.tree), so that its name is the one that 'dvc add' gives."""
    return json.dumps(
        [{"md5": file.md5, "relpath": file.path} for file in found], sort_keys=True
    ).encode()


def name_of(listed: bytes) -> str:
    """The name of a folder's listing: its MD5 and .dir."""
    return hashlib.md5(listed, usedforsecurity=False).hexdigest() + ".dir"


def keep(root: Path, folder: Path, found: list[File]) -> None:
    """Bring the files, then their listing, into the cache; what is there whole is not written again.

    Raises InputError when a file is no longer what was read.
    """
    for file in found:
        if target := _lacking(root, file.md5):
            with files.replacing(target, mode=0o444) as temporary:
                with (folder / file.path).open("rb") as source, temporary.open("wb") as copy:
                    md5 = _digests(source, copy)[1]
                if md5 != file.md5:
                    raise InputError(
                        f"{folder / file.path} changed while it was being read: let nothing write to the folder, then run the same command again; no tag was made."
                    )
    listed = listing(found)
    if target := _lacking(root, name_of(listed)):
        with files.replacing(target, mode=0o444) as temporary:
            temporary.write_bytes(listed)


def _lacking(root: Path, md5: str) -> Path | None:
    """Where the object has to be written; None where it is whole. A damaged one is put aside."""
    target = cache.place(root, md5)
    if cache.is_whole(target, md5):
        return None
    if os.path.lexists(target):
        quarantine.aside(root, target, md5)
    return target
