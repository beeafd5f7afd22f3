"""Reads the header of a GGUF file, versions 2 and 3, little-endian.

See https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

The reader of the gguf package makes an object of each of a vocabulary's hundred thousand words, and does not
check bounds; to compare two files the words are only stepped over.
"""

from __future__ import annotations

import functools
import math
import mmap
import struct
from collections.abc import Callable
from pathlib import Path

from luna.errors import InputError
from luna.model.tensors.stored import Model, Stored, Value

MAGIC = b"GGUF"
FORMAT = "GGUF"
_VERSIONS = (2, 3)
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_MOST_DIMENSIONS = 8
_SHOWN = 60  # characters of a text


@functools.cache
def _types() -> dict[int, tuple[str, int, int]]:
    """Type number -> (name, elements of a block, bytes of a block)."""
    from gguf.constants import GGML_QUANT_SIZES

    return {kind.value: (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.size = data, 0, len(data)

    def numbers(self, code: str, count: int = 1) -> tuple:
        layout = struct.Struct(f"<{count}{code}")
        values = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return values

    def number(self, code: str):
        return self.numbers(code)[0]

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > self.size:
            raise ValueError

    def text(self) -> str:
        length = self.number("Q")
        start = self.at
        self.skip(length)
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Callable[[], str]:
        """Step over a value; what comes back shows it."""
        start = self.at
        if kind in _NUMBERS:
            shown = self.number(_NUMBERS[kind])
            return lambda: f"{shown:g}" if isinstance(shown, float) else str(shown)
        if kind == _STRING:
            length = self.number("Q")
            start = self.at
            self.skip(length)
            return lambda: _shortened(self.data[start : start + length].decode("utf-8", "replace"))
        if kind != _ARRAY or depth > 1:
            raise ValueError
        inner, count = self.number("I"), self.number("Q")
        if inner in _NUMBERS:
            self.skip(struct.calcsize(f"<{_NUMBERS[inner]}") * count)
        elif inner == _STRING:
            self._skip_texts(count)
        else:
            for _ in range(count):
                self.value(inner, depth + 1)
        return lambda: f"{count} values"

    def _skip_texts(self, count: int) -> None:
        unpack, data, at, size = struct.Struct("<Q").unpack_from, self.data, self.at, self.size
        for _ in range(count):
            at += 8 + unpack(data, at)[0]
            if at > size:
                raise ValueError
        self.at = at


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def read(path: Path, data: mmap.mmap, like: Model | None = None) -> Model:
    """A value that ``like`` holds too, byte for byte, need not be stepped through again.

    Raises InputError for a file that is truncated, damaged, or of a version that is not known.
    """
    known = like.metadata if like and like.format == FORMAT else {}
    reader = _Reader(data)
    try:
        reader.skip(len(MAGIC))
        version, tensor_count, key_count = (
            reader.number("I"),
            reader.number("Q"),
            reader.number("Q"),
        )
        if version not in _VERSIONS:
            raise InputError(
                f"{path} is GGUF of version {version} or big-endian: versions 2 and 3, little-endian, can be read."
            )
        metadata: dict[str, Value] = {}
        alignment = _DEFAULT_ALIGNMENT
        for _ in range(key_count):
            key, start = reader.text(), reader.at
            kind, same = reader.number("I"), known.get(key)
            if same and kind == _ARRAY and data[start : start + len(same[0])] == same[0]:
                reader.skip(start + len(same[0]) - reader.at)
                shown = same[1]
            else:
                shown = reader.value(kind)
            metadata[key] = data[start : reader.at], shown
            if key == _ALIGNMENT:
                alignment = max(1, int(shown()))
        entries = [_entry(reader) for _ in range(tensor_count)]
    except (struct.error, ValueError, OverflowError):
        raise InputError(
            f"{path} is not a complete GGUF file: its header ends at byte {min(reader.at, reader.size)}; copy it again."
        ) from None
    origin = -(-reader.at // alignment) * alignment
    tensors: dict[str, Stored] = {}
    for name, shape, kind, offset in entries:
        if kind not in _types():
            raise InputError(
                f"{path} holds '{name}' in type {kind}, which is not known: install a newer gguf package."
            )
        word, block, size = _types()[kind]
        elements = math.prod(shape)
        if name in tensors or elements % block:
            raise InputError(
                f"{path} is damaged: tensor '{name}' occurs twice or has an impossible shape; copy it again."
            )
        length = elements // block * size
        if origin + offset + length > len(data):
            raise InputError(
                f"{path} is truncated: tensor '{name}' would end at byte {origin + offset + length} of {len(data)}; copy it again."
            )
        tensors[name] = Stored(name, word, shape, data, origin + offset, length)
    return Model(path, FORMAT, len(data), tensors, metadata)


def _entry(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    name, dimensions = reader.text(), reader.number("I")
    if dimensions > _MOST_DIMENSIONS:
        raise ValueError
    shape = reader.numbers("Q", dimensions)[::-1]
    return name, shape, reader.number("I"), reader.number("Q")
