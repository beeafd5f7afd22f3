"""A folder as DVC keeps one: each file an object by its MD5, and a listing of them all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

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
    """The folder's absolute path. Raises InputError when it cannot be kept."""
    absolute = folder.resolve()
    if not absolute.is_dir():
        raise InputError(f"{folder} is not a folder: give the path of the folder to keep.")
    root = root.resolve()
    if root.is_relative_to(absolute) or any(absolute.is_relative_to(root / own) for own in _OWN):
        raise InputError(
            f"{folder} contains the repository, or is a part of it that changes while it is read: give another folder in or beside the repository."
        )
    return absolute


def read(folder: Path) -> list[File]:
    """Every file, hashed, in the order of its path.

    A link to a file inside is taken as that file. Raises InputError for an empty folder, and for anything that would
    not come back as it was: a link that leads out or to a folder, a pipe, a name that is not UTF-8.
    """
    entries = []
    for path in _paths(folder):
        with path.open("rb") as file:
            read = files.digests(file)
        relative = path.relative_to(folder).as_posix()
        entries.append(File(relative, read.size, read.md5, read.sha256))
    if not entries:
        raise InputError(f"{folder} has no file in it: there is nothing to keep.")
    return sorted(entries, key=lambda file: file.path)


def _paths(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}): nothing was kept.")

    paths = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        for name in (*folders, *names):
            path = Path(parent) / name
            try:
                name.encode()
            except UnicodeEncodeError:
                raise InputError(
                    f"The name {name!r} in {parent} is not UTF-8: rename it; nothing was kept."
                ) from None
            if "\\" in name or "\n" in name:
                raise InputError(
                    f"The name {name!r} in {parent} contains a backslash or a line break, which is not allowed here: rename it; nothing was kept."
                )
            if path.is_symlink() and (
                not path.is_file() or not path.resolve().is_relative_to(folder)
            ):
                raise InputError(
                    f"{path} is a link to a folder, to nothing, or out of the folder: put the file itself there; nothing was kept."
                )
        for name in names:
            path = Path(parent) / name
            if not stat.S_ISREG(path.stat().st_mode):
                raise InputError(
                    f"{path} is not a regular file: take it out of the folder; nothing was kept."
                )
            if not os.access(path, os.R_OK):
                raise InputError(f"{path} cannot be read: make it readable; nothing was kept.")
            paths.append(path)
    return paths


def listing(entries: list[File]) -> bytes:
    """The listing's bytes as DVC writes them (dvc_data.hashfile.tree), so that its name is the one that 'dvc add' gives."""
    return json.dumps(
        [{"md5": file.md5, "relpath": file.path} for file in entries], sort_keys=True
    ).encode()


def name_of(listed: bytes) -> str:
    """The name of a folder's listing: its MD5 and .dir."""
    return hashlib.md5(listed, usedforsecurity=False).hexdigest() + ".dir"


def keep(root: Path, folder: Path, entries: list[File]) -> None:
    """Bring the files, then their listing, into the cache; intact objects are not written again.

    Raises InputError when a file is no longer what was read.
    """
    for file in entries:
        if target := _lacking(root, file.md5):
            with files.replacing(target, mode=0o444) as temporary:
                with (folder / file.path).open("rb") as source, temporary.open("wb") as copy:
                    md5 = files.digests(source, sha256=False, copy=copy).md5
                if md5 != file.md5:
                    raise InputError(
                        f"{folder / file.path} changed while it was being read: make sure that nothing writes to the folder, then run the same command again; no tag was made."
                    )
    listed = listing(entries)
    if target := _lacking(root, name_of(listed)):
        with files.replacing(target, mode=0o444) as temporary:
            temporary.write_bytes(listed)


def _lacking(root: Path, md5: str) -> Path | None:
    """Where the object has to be written; None where it is intact. A damaged one goes to quarantine/."""
    target = cache.path_of(root, md5)
    if cache.is_whole(target, md5):
        return None
    if os.path.lexists(target):
        quarantine.aside(root, target, md5)
    return target
