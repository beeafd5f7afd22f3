"""Compares two GGUF files tensor by tensor: what differs, and by how many bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    from gguf import GGUFReader

    try:
        old, new = GGUFReader(recorded), GGUFReader(rebuilt)
    except (ValueError, IndexError, OSError) as error:
        return [Difference("file", f"one of the files is no readable GGUF ({error})")]
    differing = []
    for key in dict.fromkeys([*old.fields, *new.fields]):
        if key.startswith("GGUF."):
            continue
        before, after = old.fields.get(key), new.fields.get(key)
        if _raw(before) != _raw(after):
            differing.append(
                Difference(key, f"metadata: recorded {_shown(before)}, rebuilt {_shown(after)}")
            )
    tensors = {tensor.name: tensor for tensor in new.tensors}
    for tensor in old.tensors:
        other = tensors.pop(tensor.name, None)
        if other is None:
            differing.append(Difference(tensor.name, "missing from the rebuilt file"))
        elif (tensor.tensor_type, list(tensor.shape)) != (other.tensor_type, list(other.shape)):
            old_form, new_form = (
                f"{item.tensor_type.name} {list(map(int, item.shape))}" for item in (tensor, other)
            )
            differing.append(Difference(tensor.name, f"recorded {old_form}, rebuilt {new_form}"))
        else:
            before, after = (
                np.ascontiguousarray(item.data).view(np.uint8).reshape(-1)
                for item in (tensor, other)
            )
            if count := int((before != after).sum()):
                differing.append(
                    Difference(
                        tensor.name,
                        f"{count} of {before.size} bytes differ",
                        count,
                        int(before.size),
                    )
                )
    differing += [Difference(name, "not in the recorded file") for name in tensors]
    return differing


def _raw(field) -> list[bytes]:
    return [part.tobytes() for part in field.parts] if field else []


def _shown(field) -> str:
    if field is None:
        return "nothing"
    text = repr(field.contents())
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
