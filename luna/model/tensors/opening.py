"""Opens a file of weights of either format."""

from __future__ import annotations

from pathlib import Path

from luna.errors import InputError
from luna.model.tensors import gguf_file, safetensors_file
from luna.model.tensors.stored import Model, Stored, mapped


def open_model(path: Path, like: Model | None = None) -> Model:
    """A GGUF or safetensors file, or a folder that holds one GGUF file or any number of safetensors files.

    ``like`` is a model that it will be compared with: what both share is read sooner. Only headers are read. Raises InputError, saying what is wrong, for anything that is not whole.
    """
    if not path.is_dir():
        data = mapped(path)
        return (
            gguf_file.read(path, data, like)
            if data[:4] == gguf_file.MAGIC
            else safetensors_file.read(path, data)
        )
    ggufs, shards = sorted(path.glob("*.gguf")), sorted(path.glob("*.safetensors"))
    if len(ggufs) == 1 and not shards:
        return open_model(ggufs[0], like)
    if not shards or ggufs:
        raise InputError(
            f"{path} holds {len(ggufs)} GGUF and {len(shards)} safetensors files: give one file, or a folder with one GGUF or with safetensors only."
        )
    parts = [safetensors_file.read(shard, mapped(shard)) for shard in shards]
    tensors: dict[str, Stored] = {}
    for part in parts:
        if twice := tensors.keys() & part.tensors.keys():
            raise InputError(
                f"{path} holds the tensor '{min(twice)}' twice, again in {part.path.name}: its files do not belong together."
            )
        tensors |= part.tensors
    return Model(path, "safetensors", sum(part.size for part in parts), tensors, {})
