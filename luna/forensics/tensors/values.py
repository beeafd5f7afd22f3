"""Compares a tensor's values block by block, and returns the memory of each block."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import sys
from collections.abc import Iterator
from typing import Any

from luna.model.tensors.stored import Stored

_RELEASE = 1 << 26  # bytes after which pages are given back
_BLOCK = 1 << 21  # elements that are decoded at a time
_PLAIN = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "<u1",
}


def release(data: mmap.mmap, start: int, size: int) -> None:
    """Let go of the pages between; they stay in the system's cache but no longer count as this process's memory."""
    if hasattr(mmap, "MADV_DONTNEED"):
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        data.madvise(mmap.MADV_DONTNEED, first, start + size - first)


@functools.cache
def _memcmp() -> Any:
    """The C library's own, which neither copies nor writes, and lets other threads run meanwhile."""
    function = (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).memcmp
    function.argtypes, function.restype = (
        (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
        ctypes.c_int,
    )
    return function


def equal(one: Stored, other: Stored) -> bool:
    """Whether the bytes are the same; what they mean is not asked."""
    import numpy as np

    if one.size != other.size:
        return False
    for piece in range(0, one.size, _RELEASE):
        length = min(_RELEASE, one.size - piece)
        left, right = (
            np.frombuffer(item.data, np.uint8, length, item.start + piece) for item in (one, other)
        )
        differ = _memcmp()(left.ctypes.data, right.ctypes.data, length)
        for item in (one, other):
            release(item.data, item.start + piece, length)
        if differ:
            return False
    return True


def can_decode(kind: str) -> bool:
    """Whether values of this type can be read."""
    if kind in _PLAIN or kind == "BF16":
        return True
    import numpy as np
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        dequantize(
            np.zeros(GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1], np.uint8),
            GGMLQuantizationType[kind],
        )
    except (KeyError, NotImplementedError):
        return False
    return True


def norms(one: Stored, other: Stored) -> tuple[float, float]:
    """||other - one|| and ||one|| (Frobenius) in float64, of two tensors of one shape whose types can be decoded."""
    import numpy as np

    moved = norm = 0.0
    with np.errstate(all="ignore"):  # values that are no finite numbers are the caller's to mark
        for before, after in zip(_decoded(one), _decoded(other), strict=True):
            apart = after - before
            moved += float(apart @ apart)
            norm += float(before @ before)
    return math.sqrt(moved), math.sqrt(norm)


def matrix(item: Stored) -> Any:
    """The whole tensor in float64: for the small ones of an adapter. Raises ValueError for a type that cannot be decoded."""
    import numpy as np

    if not can_decode(item.type):
        raise ValueError(f"values of type {item.type} cannot be decoded")
    return np.concatenate([np.empty(0), *_decoded(item)]).reshape(item.shape)


def _decoded(item: Stored) -> Iterator[Any]:
    """The values in blocks of ``_BLOCK``, as flat float64 arrays."""
    import numpy as np

    elements = math.prod(item.shape)
    for first in range(0, elements, _BLOCK):
        count = min(_BLOCK, elements - first)
        begin, end = item.size * first // elements, item.size * (first + count) // elements
        raw = np.frombuffer(item.data, np.uint8, end - begin, item.start + begin)
        yield _decode(raw, item.type, np)
        del raw
        release(item.data, item.start + begin, end - begin)


def _decode(raw: Any, kind: str, np: Any) -> Any:
    if kind == "BF16":
        return (raw.copy().view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if kind in _PLAIN:
        return raw.copy().view(_PLAIN[kind]).astype(np.float64)
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    return dequantize(raw, GGMLQuantizationType[kind]).reshape(-1).astype(np.float64)
