"""Compares two GGUF files tensor by tensor: what differs, and by how many bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna.errors import InputError
from luna.model.tensors.opening import open_model
from luna.model.tensors.stored import Stored, Value


@dataclass(frozen=True)
class Difference:
    """``what`` is the tensor's or metadata key's name; ``how`` says it for a person. ``bytes`` differ of ``size``."""

    what: str
    how: str
    bytes: int = 0
    size: int = 0


def differences(recorded: Path, rebuilt: Path) -> list[Difference]:
    """Metadata keys first, then tensors in the recorded file's order. Empty for files of equal content."""
    import numpy as np

    try:
        old = open_model(recorded)
        new = open_model(rebuilt, old)
    except InputError as error:
        return [Difference("file", f"one of the files is no readable GGUF ({error})")]
    differing = []
    for key in dict.fromkeys([*old.metadata, *new.metadata]):
        was, now = old.metadata.get(key), new.metadata.get(key)
        if was is None or now is None or was[0] != now[0]:
            differing.append(
                Difference(key, f"metadata: recorded {_shown(was)}, rebuilt {_shown(now)}")
            )
    for name, tensor in old.tensors.items():
        other = new.tensors.get(name)
        if other is None:
            differing.append(Difference(name, "missing from the rebuilt file"))
        elif (tensor.type, tensor.shape) != (other.type, other.shape):
            how = f"recorded {_form(tensor)}, rebuilt {_form(other)}"
            differing.append(Difference(name, how))
        else:
            bytes_then, bytes_now = (
                np.frombuffer(item.data, np.uint8, item.size, item.start)
                for item in (tensor, other)
            )
            if count := int(np.count_nonzero(bytes_then != bytes_now)):
                how = f"{count} of {tensor.size} bytes differ"
                differing.append(Difference(name, how, count, tensor.size))
    added = [name for name in new.tensors if name not in old.tensors]
    return differing + [Difference(name, "not in the recorded file") for name in added]


def _form(tensor: Stored) -> str:
    return f"{tensor.type} {list(tensor.shape)}"


def _shown(value: Value | None) -> str:
    return repr(value[1]()) if value else "nothing"
