"""Reads the header of a safetensors file.

See https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Any

from luna.errors import InputError
from luna.model.tensors.stored import Model, Stored
from luna.model.tensors.writing import BYTES

_LENGTH = 8
_MOST = 100_000_000  # bytes of a header, as the format's own reader allows


def read(path: Path, data: mmap.mmap) -> Model:
    """Raises InputError for a file that is truncated, or none of this format."""
    size = len(data)
    length = int.from_bytes(data[:_LENGTH], "little")
    if size < _LENGTH or length > min(size - _LENGTH, _MOST):
        raise InputError(
            f"{path} is neither GGUF nor a complete safetensors file (pickles are not opened, since they can run code)."
        )
    try:
        header = json.loads(data[_LENGTH : _LENGTH + length])
        written = header.pop("__metadata__", None) or {}
        tensors = {
            name: _stored(name, entry, data, _LENGTH + length) for name, entry in header.items()
        }
        metadata = {
            str(key): (str(value).encode(), lambda value=value: str(value))
            for key, value in written.items()
        }
    except _Truncated as error:
        raise InputError(
            f"{path} is truncated or damaged: tensor '{error}' lies outside the file's {size} bytes; copy it again."
        ) from None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError):
        raise InputError(
            f"{path} is not a complete safetensors file: its table cannot be read (pickles are not opened, since they can run code)."
        ) from None
    return Model(path, "safetensors", size, tensors, metadata)


class _Truncated(Exception):
    pass


def _stored(name: str, entry: dict[str, Any], data: mmap.mmap, origin: int) -> Stored:
    kind, shape, (begin, end) = (
        str(entry["dtype"]),
        tuple(map(int, entry["shape"])),
        map(int, entry["data_offsets"]),
    )
    if (
        not 0 <= begin <= end
        or min(shape, default=0) < 0
        or (kind in BYTES and end - begin != math.prod(shape) * BYTES[kind])
    ):
        raise ValueError
    if origin + end > len(data):
        raise _Truncated(name)
    return Stored(name, kind, shape, data, origin + begin, end - begin)
