"""What a person names, a file, a folder or a zip, as members that are read within bounds."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from luna.errors import InputError
from luna.importing.draft import NotConversations, Unreadable
from luna.text import escaped

#: More than so many bytes out of one packed byte is no text of people's: JSON of chats packs 5 to 50 times.
MAX_RATIO = 200
FREE_BYTES = 100_000_000  # so much may be unpacked whatever the ratio
_ZIP, _GZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"), b"\x1f\x8b"
_CUT_OFF = "is cut off or damaged: download or copy it again"
_BOMB = f"unpacks to more than {MAX_RATIO} times its size, as only a zip bomb does: unpack it yourself if you trust it"


@dataclass(frozen=True)
class Member:
    """A file of a source. ``name`` is its path inside it, empty where the source is that one file; ``size`` in bytes, as declared."""

    name: str
    size: int
    open: Callable[[], AbstractContextManager[BinaryIO]]

    def head(self, count: int) -> bytes:
        """Its first bytes."""
        with self.open() as file:
            return file.read(count)


@contextlib.contextmanager
def damage() -> Iterator[None]:
    """Turn what a packed file raises when it is cut off or damaged into Unreadable."""
    try:
        yield
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Unreadable(_CUT_OFF) from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # those two come from nonsense in a zip
            raise
        raise Unreadable(_CUT_OFF) from error
    except NotImplementedError as error:
        raise Unreadable("is packed in a way that is not read: unpack it") from error


@contextlib.contextmanager
def members(path: Path) -> Iterator[list[Member]]:
    """The files of a source, in the order of their names; they can be opened inside the block.

    Raises:
        InputError: there is no such file, or it cannot be read.
        Unreadable: it is a zip that is damaged, encrypted, or a bomb.
    """
    shown = escaped(str(path))
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{shown} cannot be read ({error.strerror}).") from None
    if stat.S_ISDIR(mode):
        yield _folder(path)
        return
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown} is no plain file: name a file or a folder.")
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(f"{shown} cannot be read ({error.strerror}).") from None
    size = path.stat().st_size
    if head.startswith(_ZIP):
        with damage():
            archive = zipfile.ZipFile(path)
        with archive:
            yield _zip(archive, size)
    elif head.startswith(_GZIP):
        yield [Member("", size, lambda: _gunzipped(path, size))]
    else:
        yield [Member("", size, lambda: path.open("rb"))]


def _folder(path: Path) -> list[Member]:
    """Files in it and below. A link is no part of an export and is named, since it may be all that there is; hidden files are not."""
    listed = []
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith("."))
        listed += [Path(folder, name) for name in files if not name.startswith(".")]
    return [
        Member(
            file.relative_to(path).as_posix(),
            file.lstat().st_size,
            _linked if file.is_symlink() else _opener(file),
        )
        for file in sorted(listed)
        if file.is_symlink() or file.is_file()
    ]


def _linked() -> AbstractContextManager[BinaryIO]:
    raise NotConversations("is a link, which is not followed: name the file itself")


def _opener(file: Path) -> Callable[[], AbstractContextManager[BinaryIO]]:
    """Opens a file of a folder; a packed one is unpacked while it is read."""
    with contextlib.suppress(OSError), file.open("rb") as head:
        if head.read(2) == _GZIP:
            return lambda: _gunzipped(file, file.stat().st_size)
    return lambda: file.open("rb")


def _zip(archive: zipfile.ZipFile, size: int) -> list[Member]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if any(info.filename == "[Content_Types].xml" for info in infos):
        raise Unreadable("is a document of an office program: save it as CSV or as text")
    if any(info.flag_bits & 1 for info in infos):
        raise Unreadable("is encrypted: unpack it with its password and name the folder")
    if sum(info.file_size for info in infos) > max(FREE_BYTES, MAX_RATIO * size):
        raise Unreadable(_BOMB)
    return [
        Member(info.filename, info.file_size, _zip_opener(archive, info))
        for info in sorted(infos, key=lambda info: info.filename)
        if not Path(info.filename).name.startswith(".")
        and not info.filename.startswith("__MACOSX/")
    ]


def _zip_opener(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextlib.contextmanager
    def opened() -> Iterator[BinaryIO]:
        # zipfile gives no more bytes than the zip declares, which is what was held against the bound.
        with damage(), archive.open(info) as file:
            yield cast(BinaryIO, file)

    return opened


@contextlib.contextmanager
def _gunzipped(path: Path, size: int) -> Iterator[BinaryIO]:
    with damage(), gzip.open(path) as file:
        bound = max(FREE_BYTES, MAX_RATIO * size)
        yield cast(BinaryIO, io.BufferedReader(_Bounded(file, bound)))


class _Bounded(io.RawIOBase):
    """Passes bytes on, and raises Unreadable after so many."""

    def __init__(self, file: gzip.GzipFile, bound: int) -> None:
        super().__init__()
        self._file, self._left = file, bound

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable(_BOMB)
        buffer[: len(data)] = data
        return len(data)
