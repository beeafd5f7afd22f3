"""One model on disk, memory-mapped: which tensors it holds, of which type and shape, and where."""

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
        return f"{self.type} {' x '.join(map(str, self.shape)) or 'scalar'}"


@dataclass(frozen=True)
class Model:
    """``format`` is ``GGUF`` or ``safetensors``. ``metadata``: each key's value as the file's own bytes, and how to show it."""

    path: Path
    format: str
    size: int
    tensors: dict[str, Stored]
    metadata: Mapping[str, tuple[bytes, Callable[[], str]]]


def mapped(path: Path) -> mmap.mmap:
    """Raises InputError for a file that is missing, empty or no file."""
    if not path.is_file():
        raise InputError(f"There is no file {path}: give a GGUF or safetensors file, a folder that holds one, or a generation.")
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise InputError(f"{path} is empty: it is neither GGUF nor safetensors.") from None


def open_model(path: Path, like: Model | None = None) -> Model:
    """A GGUF or safetensors file, or a folder that holds one GGUF file or any number of safetensors files.

    ``like`` is a model that it will be compared with: what both share is read sooner. Only headers are read. Raises InputError, saying what is wrong, for anything that is not whole.
    """
    from luna.forensics.tensors import gguf_file, safetensors_file

    if not path.is_dir():
        data = mapped(path)
        return gguf_file.read(path, data, like) if data[:4] == gguf_file.MAGIC else safetensors_file.read(path, data)
    ggufs, shards = sorted(path.glob("*.gguf")), sorted(path.glob("*.safetensors"))
    if len(ggufs) == 1 and not shards:
        return open_model(ggufs[0], like)
    if not shards or ggufs:
        raise InputError(f"{path} holds {len(ggufs)} GGUF and {len(shards)} safetensors files: give one file, or a folder with one GGUF or with safetensors only.")
    parts = [safetensors_file.read(shard, mapped(shard)) for shard in shards]
    tensors: dict[str, Stored] = {}
    for part in parts:
        if twice := tensors.keys() & part.tensors.keys():
            raise InputError(f"{path} holds the tensor '{min(twice)}' twice, again in {part.path.name}: its files do not belong together.")
        tensors |= part.tensors
    return Model(path, "safetensors", sum(part.size for part in parts), tensors, {})
