"""Writes files so that a kill, a full disk or a power cut never leaves half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from luna.errors import InputError
from luna.text import escaped

CHUNK_BYTES = 1 << 20
_ATTEMPTS = 100  # when another program writes the folder while it is replaced


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk: a rename counts after a power cut only then.

    Windows cannot open a folder, and some network file systems cannot sync one; there it is left to them.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """As ``mkdir(parents=True, exist_ok=True)``; the names of the folders that it makes are on the disk then."""
    missing = []
    above = folder
    while not above.exists():
        missing.append(above)
        above = above.parent
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """A temporary path beside ``path``; it takes the place of ``path`` when the block ends well.

    The one way in which files are written here: the bytes are on the disk before the name is, and the name before
    this returns. The old file is unlinked, never written through: a workspace file may be a hard link into DVC's cache.
    """
    with _beside(path) as temporary:
        yield temporary
        sync_file(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
        sync_folder(path.parent)


@contextlib.contextmanager
def creating(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """As ``replacing``, but of two that do it at once one wins. Raises FileExistsError where ``path`` is there."""
    with _beside(path) as temporary:
        yield temporary
        sync_file(temporary)
        temporary.chmod(mode)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("xb") as file:
                file.write(temporary.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            path.chmod(mode)
        sync_folder(path.parent)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path, scratch: Path) -> Iterator[Path]:
    """A new folder inside ``scratch``; it takes the place of ``path``, whatever is there, when the block ends well.

    As with ``replacing``: the old folder is moved away and unlinked, never written through, also when somebody
    (a checkout) puts it there meanwhile. ``scratch`` is on the file system of ``path``.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=scratch) as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        yield new
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                path.rename(Path(temporary) / f"old{attempt}")
            try:
                new.rename(path)
                break
            except OSError:  # it is there again
                if attempt == _ATTEMPTS - 1 or not os.path.lexists(path):
                    raise


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path``; it becomes ``path``, which must be new or empty, when the block ends well.

    Raises InputError when ``path`` is there and not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is there and not empty: give a new folder with --to.")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.replace(path)  # takes the place of an empty folder, and of nothing else
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def opened(path: Path, shown: str) -> Iterator[BinaryIO]:
    """A plain file of a person's, open for reading; a FIFO is not waited for. ``shown`` is its name in errors.

    Raises:
        InputError: it cannot be read, or is no plain file.
        FileNotFoundError: there is no such file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{escaped(shown)} cannot be read ({reason}).") from None
    # A file object refuses a folder with an error of its own, so the check comes first.
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(
            f"{escaped(shown)} is not a regular file: remove it, or move it elsewhere."
        )
    with os.fdopen(handle, "rb") as file:
        yield file


def is_inside(relative: object) -> bool:
    """Whether a path that a file names (a folder's listing, say) stays in its folder."""
    if not isinstance(relative, str) or not relative or "\\" in relative or "\0" in relative:
        return False
    path = PurePosixPath(relative)
    return (
        not path.is_absolute() and ".." not in path.parts and not re.match(r"[A-Za-z]:", relative)
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step: it is the old one or the new one, never half."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def json_text(value: Any) -> str:
    """Indented JSON with a line end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON in one step."""
    write_text(path, json_text(value))


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one line of JSON per row, in one step."""
    write_text(
        path,
        "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows),
    )


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[Any]:
    """Read one value per line; empty lines are left out."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


@dataclass(frozen=True)
class Digests:
    """Length and hexadecimal digests of bytes that were read; empty where not asked for."""

    size: int
    md5: str
    sha256: str


def digests(
    file: Any,
    md5: bool = True,
    sha256: bool = True,
    copy: BinaryIO | None = None,
    read: Callable[[int], None] = lambda count: None,
) -> Digests:
    """Of the rest of a binary file, read once as a stream, into ``copy`` on the way; ``read`` is told the size of each piece."""
    hashes = [
        hashlib.md5(usedforsecurity=False) if md5 else None,
        hashlib.sha256() if sha256 else None,
    ]
    buffer = bytearray(CHUNK_BYTES)
    view, size = memoryview(buffer), 0
    while count := file.readinto(buffer):
        size += count
        for one in hashes:
            if one:
                one.update(view[:count])
        if copy:
            copy.write(view[:count])
        read(count)
    return Digests(size, *(one.hexdigest() if one else "" for one in hashes))


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes, read as a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def sha256_line(path: Path, name: str) -> str:
    """One line as ``sha256sum`` writes and checks it (two spaces between digest and name)."""
    return f"{digest(path)}  {name}\n"
