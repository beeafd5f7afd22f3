"""Copies a GGUF file with other metadata; its tensors stay byte for byte what they are.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Tensors are found by offsets from the beginning of the
data, so the header before it may grow. The same input gives the same bytes.
"""

from __future__ import annotations

import mmap
import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from luna.errors import ExportError

Value = str | bool | int | Sequence[str]

_MAGIC, _VERSION, _ALIGNMENT = b"GGUF", 3, 32
_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9
#: Bytes of the types of fixed size.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class _Header(NamedTuple):
    """``pairs``: the bytes of each key with its value; ``tensors``: of the list of tensors; ``data``: where the data begins."""

    pairs: dict[str, bytes]
    tensor_count: int
    tensors: bytes
    alignment: int
    data: int


class _Reader:
    """Walks through the header. Raises ExportError where the file ends before it."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise ExportError(f"{self.path} is no whole GGUF file: restore it with 'luna restore'.")
        self.at += size

    def number(self, form: str) -> int:
        start, size = self.at, struct.calcsize(form)
        self.skip(size)
        return struct.unpack_from(form, self.data, start)[0]

    def string(self) -> bytes:
        length = self.number("<Q")
        self.skip(length)
        return self.data[self.at - length : self.at]

    def value(self, kind: int) -> None:
        if kind == _STRING:
            self.skip(self.number("<Q"))
        elif kind == _ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _SIZES:
                self.skip(count * _SIZES[inner])
            else:
                for _ in range(count):
                    self.value(inner)
        elif kind in _SIZES:
            self.skip(_SIZES[kind])
        else:
            raise ExportError(f"{self.path} holds metadata of a type that is not known ({kind}).")


def _read(data: mmap.mmap, path: Path) -> _Header:
    reader = _Reader(data, path)
    reader.skip(4)
    if data[:4] != _MAGIC or reader.number("<I") != _VERSION:
        raise ExportError(f"{path} is no GGUF file of version {_VERSION}: export it again.")
    count, keys = reader.number("<Q"), reader.number("<Q")
    pairs, alignment = {}, _ALIGNMENT
    for _ in range(keys):
        start = reader.at
        key = reader.string().decode("utf-8", "replace")
        reader.value(reader.number("<I"))
        pairs[key] = data[start : reader.at]
        if key == "general.alignment":
            alignment = struct.unpack("<I", pairs[key][-4:])[0]
    start = reader.at
    for _ in range(count):
        reader.string()
        reader.skip(8 * reader.number("<I") + 4 + 8)  # dimensions, type and offset
    tensors = data[start : reader.at]
    return _Header(pairs, count, tensors, alignment, reader.at + -reader.at % alignment)


def strings(path: Path) -> dict[str, str]:
    """The metadata that are text, without lists."""
    texts = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for key, pair in _read(data, path).pairs.items():
            start = 8 + len(key.encode())
            if struct.unpack_from("<I", pair, start)[0] == _STRING:
                texts[key] = pair[start + 12 :].decode("utf-8", "replace")
    return texts


def copy(source: Path, target: Path, changes: Mapping[str, Value]) -> None:
    """Write ``target`` as ``source`` with ``changes``: new keys come last, others keep their position.

    Raises ExportError when ``source`` is no whole GGUF file.
    """
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = _read(data, source)
        pairs = header.pairs | {key: _pair(key, value) for key, value in changes.items()}
        head = _MAGIC + struct.pack("<IQQ", _VERSION, header.tensor_count, len(pairs))
        head += b"".join(pairs.values()) + header.tensors
        with target.open("wb") as out:
            out.write(head + bytes(-len(head) % header.alignment))
            file.seek(header.data)
            shutil.copyfileobj(file, out, 1 << 20)


def _pair(key: str, value: Value) -> bytes:
    name = _string(key)
    if isinstance(value, str):
        return name + struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, bool):
        return name + struct.pack("<IB", _BOOL, value)
    if isinstance(value, int):
        return name + struct.pack("<II", _UINT32, value)
    return name + struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_string, value))


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
