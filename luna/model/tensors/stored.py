"""A model on disk, memory-mapped: its tensors, their types, shapes and offsets."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from luna.errors import InputError


@dataclass(frozen=True)
class Stored:
    """A tensor's bytes, from ``start`` to ``start + size`` of ``data``. ``type`` is the format's own word (``BF16``, ``Q8_0``); ``shape`` outermost first."""

    name: str
    type: str
    shape: tuple[int, ...]
    data: mmap.mmap
    start: int
    size: int

    @property
    def layout(self) -> str:
        """Type and shape, for a person."""
        return f"{self.type} {' x '.join(map(str, self.shape)) or 'scalar'}"


#: A value as the file's own bytes, and what shows it to a person.
Value = tuple[bytes, Callable[[], str]]


@dataclass(frozen=True)
class Model:
    """``format`` is ``GGUF`` or ``safetensors``. ``metadata``: each key's value as the file's own bytes, and how to show it."""

    path: Path
    format: str
    size: int
    tensors: dict[str, Stored]
    metadata: Mapping[str, Value]


def mapped(path: Path) -> mmap.mmap:
    """Raises InputError for a file that is missing, empty or no file."""
    if not path.is_file():
        raise InputError(
            f"There is no file {path}: give a GGUF or safetensors file, a folder that holds one, or a generation."
        )
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise InputError(f"{path} is empty: it is neither GGUF nor safetensors.") from None
