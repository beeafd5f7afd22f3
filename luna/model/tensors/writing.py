"""Writes a safetensors file one tensor at a time, byte for byte as the safetensors package writes it.

The package takes all tensors at once; here one is in memory at a time. See
https://github.com/huggingface/safetensors#format; the order of the tensors is that of its `serialize`: by type, the
widest first, then by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The format's words for types in the order in which they stand in a file, with the bytes of an element.
BYTES = {
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "F32": 4,
    "U32": 4,
    "I32": 4,
    "BF16": 2,
    "F16": 2,
    "U16": 2,
    "I16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_ORDER = {word: number for number, word in enumerate(BYTES)}
_ALIGNED = 8  # bytes: the header is filled up with spaces


@dataclass(frozen=True)
class Form:
    """Type, in the format's words, and shape of a tensor that is to be written."""

    type: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * BYTES[self.type]


def write(path: Path, forms: Mapping[str, Form], tensor: Callable[[str], Any]) -> None:
    """Write the file; ``tensor`` gives torch's tensor of a name when its turn comes.

    Raises ValueError for a tensor that does not have the type or shape that was named.
    """
    import torch

    names = sorted(forms, key=lambda name: (_ORDER[forms[name].type], name.encode()))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + forms[name].size
        header[name] = {
            "dtype": forms[name].type,
            "shape": list(forms[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            value = tensor(name).contiguous()
            if tuple(value.shape) != forms[name].shape or value.nbytes != forms[name].size:
                raise ValueError(name)
            if value.nbytes:
                file.write(value.reshape(-1).view(torch.uint8).numpy().data)
