"""Merges adapters exactly: W + sum of s * (B @ A) in float64, rounded to bfloat16 once for each sum.

In float64 the order of summation does not reach the bits that bfloat16 keeps but in ties one in
2**44 or so, so the result does not depend on threads, vector width or machine.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna.errors import ExportError
from luna.model.adapter import Adapter, Matrices, matrices
from luna.model.evolution import lora_norm, ratio
from luna.model.tensors import writing


@dataclass(frozen=True)
class Recipe:
    """What weights are made of: the model folder ``fixed`` and rounds of adapters, oldest first.

    The adapters of one round are summed up on what the round before left, and the sum is rounded once.
    """

    fixed: Path
    rounds: tuple[tuple[Adapter, ...], ...] = ()

    @property
    def taught(self) -> Recipe:
        """Without the adapters that change nothing."""
        rounds = (tuple(one for one in some if one.weights is not None) for some in self.rounds)
        return Recipe(self.fixed, tuple(some for some in rounds if some))


@dataclass(frozen=True)
class Change:
    """How the last adapter moved the weights: relative change ||dW|| / ||W|| (Frobenius) by tensor, None where ||W|| is 0."""

    relative: dict[str, float | None]
    total_tensors: int
    rounded_away: int  # tensors that the adapter touches and that are, in bfloat16, what they were


def merge(
    recipe: Recipe,
    out: Path,
    parent: Path | None = None,
    tick: Callable[[str], None] = lambda name: None,
) -> Change:
    """Write the model folder that ``recipe`` makes into ``out``. One tensor is in memory at a time.

    ``parent``: the weights before the last adapter, which its change is measured against; None measures nothing.

    Raises:
        ExportError: an adapter names a tensor that the base lacks, of another shape, or the last
            adapter leaves every tensor of the parent as it was.
    """
    from safetensors import safe_open

    out.mkdir(parents=True, exist_ok=True)
    rounds = [[matrices(adapter) for adapter in some] for some in recipe.taught.rounds]
    touched: set[str] = set().union(*(one.names for some in rounds for one in some))
    last = rounds[-1][-1] if parent and rounds else None
    relative: dict[str, float | None] = {}
    unchanged = 0
    names: set[str] = set()
    for path in sorted(recipe.fixed.iterdir()):
        if path.suffix != ".safetensors":
            shutil.copyfile(path, out / path.name)
            continue
        with contextlib.ExitStack() as opened:
            tensors = opened.enter_context(safe_open(path, "pt"))
            before = opened.enter_context(safe_open(parent / path.name, "pt")) if parent else None

            def merged(name: str, tensors: Any = tensors, before: Any = before) -> Any:
                nonlocal unchanged
                weight = _sum(name, tensors.get_tensor(name), rounds)
                if last and name in last.names:
                    was = before.get_tensor(name)
                    relative[name], same = _moved(name, was, weight, last)
                    unchanged += same
                tick(name)
                return weight

            forms = {
                name: _form(tensors.get_slice(name), name in touched) for name in tensors.keys()
            }
            writing.write(out / path.name, forms, merged)
        names |= forms.keys()
    if missing := touched - names:
        raise ExportError(
            f"The adapter changes '{min(missing)}', which the base does not have: base and adapter do not belong together."
        )
    if last and unchanged == len(relative):
        raise ExportError(
            "The merge changed nothing: the adapter is too weak for 16-bit weights; raise train.learning_rate or the number of steps."
        )
    return Change(dict(sorted(relative.items())), len(names), unchanged)


def _form(stored: Any, changed: bool) -> writing.Form:
    """What is written of a tensor: what an adapter has changed is bfloat16."""
    return writing.Form("BF16" if changed else stored.get_dtype(), tuple(stored.get_shape()))


def _sum(name: str, weight: Any, rounds: Sequence[Sequence[Matrices]]) -> Any:
    """A weight with all rounds on it."""
    import torch

    for some in rounds:
        delta = _delta(name, weight, some)
        if delta is not None:  # in place: memory is what takes the time
            weight = delta.add_(weight).to(torch.bfloat16)
    return weight


def _moved(name: str, was: Any, weight: Any, last: Matrices) -> tuple[float | None, bool]:
    """How far the last adapter moved a weight, as a share of its norm, and whether it is what it was."""
    import torch

    norm = torch.linalg.vector_norm(was.to(torch.float64)).item()
    share = ratio(lora_norm([(last.scale, *last.of(name))]), norm)
    return share, bool(torch.equal(was, weight))


def _delta(name: str, weight: Any, adapters: Sequence[Matrices]) -> Any:
    """The sum of s * (B @ A) over the adapters that change a tensor, in one product; None where none does.

    W + s1 B1 A1 + s2 B2 A2 = W + B A with A = [A1; A2] and B = [s1 B1, s2 B2].
    """
    import torch

    parts = [(one.scale, *one.of(name)) for one in adapters if name in one.names]
    for _, a, b in parts:
        if weight.shape != (b.shape[0], a.shape[1]):
            raise ExportError(
                f"The adapter's '{name}' is {b.shape[0]} x {a.shape[1]}, the base's {' x '.join(map(str, weight.shape))}: they do not belong together."
            )
    if not parts:
        return None
    if len(parts) == 1:
        [(scale, a, b)] = parts
        return (b @ a).mul_(scale)
    return torch.cat([scale * b for scale, _, b in parts], 1) @ torch.cat([a for _, a, _ in parts])
