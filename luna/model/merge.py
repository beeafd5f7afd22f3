"""Merges adapters exactly: W + s * (B @ A) in float64, rounded to bfloat16.

In float64 the order of summation does not reach the bits that bfloat16 keeps but in ties one in
2**44 or so, so the result does not depend on threads, vector width or machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna.errors import ExportError
from luna.model.adapter import Adapter, pairs
from luna.model.evolution import lora_norm, ratio


@dataclass(frozen=True)
class Change:
    """How the last adapter moved the weights: relative change ||dW|| / ||W|| (Frobenius) by tensor, None where ||W|| is 0."""

    relative: dict[str, float | None]
    total_tensors: int
    rounded_away: int  # tensors that an adapter touches but bfloat16 rounds back to what they were


def merge(
    base: Path,
    adapters: Sequence[Adapter],
    out: Path,
    tick: Callable[[str], None] = lambda name: None,
    measure: bool = True,
) -> Change:
    """Write the model folder ``base`` with ``adapters`` merged in, oldest first, into ``out``.

    ``measure`` False leaves out how far the last adapter moved the weights: the bytes are the same, sooner.

    Raises:
        ExportError: an adapter names a tensor that the base lacks, of another shape, or the last
            adapter leaves every tensor as it was.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    steps = [(adapter.scale, pairs(adapter)) for adapter in adapters if adapter.weights is not None]
    last = steps[-1][1] if measure and steps and adapters[-1].weights is not None else {}
    relative: dict[str, float | None] = {}
    unchanged = total = 0
    names: set[str] = set()
    for path in sorted(base.iterdir()):
        if path.suffix != ".safetensors":
            shutil.copyfile(path, out / path.name)
            continue
        merged: dict[str, Any] = {}
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():
                weight = tensors.get_tensor(name)
                total += 1
                names.add(name)
                for index, (scale, matrices) in enumerate(steps):
                    if name not in matrices:
                        continue
                    before, delta = weight, _delta(name, weight, scale, *matrices[name])
                    measured = index == len(steps) - 1 and last
                    if measured:
                        norm = torch.linalg.vector_norm(before.to(torch.float64)).item()
                        relative[name] = ratio(lora_norm([(scale, *matrices[name])]), norm)
                    weight = delta.add_(before).to(
                        torch.bfloat16
                    )  # in place: memory is what takes the time
                    if measured:
                        unchanged += bool(torch.equal(before, weight))
                merged[name] = weight.contiguous()
                tick(name)
        save_file(merged, out / path.name, {"format": "pt"})
    if missing := set().union(*(matrices for _, matrices in steps)) - names:
        raise ExportError(
            f"The adapter changes '{min(missing)}', which the base does not have: base and adapter do not belong together."
        )
    if last and unchanged == len(relative):
        raise ExportError(
            "The merge changed nothing: the adapter is too weak for 16-bit weights; raise train.learning_rate or the number of steps."
        )
    return Change(relative, total, unchanged)


def _delta(name: str, weight: Any, scale: float, a: Any, b: Any) -> Any:
    if weight.shape != (b.shape[0], a.shape[1]):
        raise ExportError(
            f"The adapter's '{name}' is {b.shape[0]} x {a.shape[1]}, the base's {' x '.join(map(str, weight.shape))}: they do not belong together."
        )
    return (b @ a).mul_(scale)
