"""Compares two files of weights of any origin, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from luna.errors import InputError
from luna.model import evolution, naming
from luna.model.tensors.opening import open_model
from luna.model.tensors.stored import Model, Stored, Value

State = Literal["same", "changed", "reshaped", "only in A", "only in B"]
_STREAMS = 2  # comparing is bound by memory: more do not help
_SHOWN = 100  # characters of a metadata value


@dataclass(frozen=True)
class TensorChange:
    """``change`` is ||B - A|| / ||A|| (Frobenius); None where it cannot be computed, and ``note`` says why. ``norm`` is ||A||, of changed tensors only."""

    tensor: str
    kind: str
    depth: int | None
    state: State
    before: str | None
    after: str | None
    change: float | None
    norm: float | None
    note: str | None = None


@dataclass(frozen=True)
class FileDiff:
    """``metadata``: (key, value in A, value in B) of each that differs, None where it is missing."""

    a: Model
    b: Model
    tensors: list[TensorChange]
    metadata: list[tuple[str, str | None, str | None]]

    def count(self, state: State) -> int:
        """How many tensors are in this state."""
        return sum(item.state == state for item in self.tensors)

    @property
    def changed(self) -> list[TensorChange]:
        """Tensors of equal shape whose bytes differ, most changed first; those without a figure last."""
        return sorted(
            (item for item in self.tensors if item.state == "changed"),
            key=lambda item: -1.0 if item.change is None else item.change,
            reverse=True,
        )

    @property
    def most_evolved(self) -> list[str]:
        """The kinds of module that changed most, first the most."""
        return evolution.most(
            evolution.grouped((item.kind, item.change, item.norm or 0.0) for item in self.changed)
        )

    def as_json(self) -> dict[str, Any]:
        """The comparison as 'luna diff --json' prints it."""
        sides = {
            key: {
                "path": str(model.path),
                "format": model.format,
                "bytes": model.size,
                "tensors": len(model.tensors),
            }
            for key, model in (("a", self.a), ("b", self.b))
        }
        counts = {
            state: self.count(state)
            for state in ("same", "changed", "reshaped", "only in A", "only in B")
        }
        return sides | {
            "identical": counts["same"] == len(self.tensors) and not self.metadata,
            "counts": counts,
            "most_evolved": self.most_evolved,
            "metadata": [{"key": key, "a": old, "b": new} for key, old, new in self.metadata],
            "tensors": [asdict(item) for item in self.tensors],
        }


def compare(
    first: Path, second: Path, tick: Callable[[int, int], None] = lambda size, total: None
) -> FileDiff:
    """Compare two files or folders; ``tick`` gets the bytes of each tensor that is done, and of all.

    Values are decoded, and quantised ones dequantised, only where bytes differ; a tensor at a time is in memory.

    Raises:
        InputError: one is missing, truncated or of no known format, they are of different formats, or share no tensor.
    """
    a = open_model(first)
    b = open_model(second, a)
    if a.format != b.format:
        raise InputError(
            f"{first} is {a.format} and {second} is {b.format}, which name and order weights differently: export both in one format first."
        )
    if not a.tensors.keys() & b.tensors.keys():
        raise InputError(
            f"{first} and {second} share no tensor: they are different architectures, or hold no weights."
        )
    from concurrent.futures import ThreadPoolExecutor

    pairs = []
    either = b.tensors | a.tensors
    total = sum(tensor.size for tensor in either.values())
    with ThreadPoolExecutor(_STREAMS) as pool:
        for item in pool.map(
            lambda name: _tensor(name, a.tensors.get(name), b.tensors.get(name)),
            a.tensors | b.tensors,
        ):
            pairs.append(item)
            tick(either[item.tensor].size, total)
    pairs.sort(key=lambda item: (item.depth is None, item.depth or 0, item.tensor))
    return FileDiff(a, b, pairs, _metadata(a, b))


def _tensor(name: str, one: Stored | None, other: Stored | None) -> TensorChange:
    from luna.forensics.tensors import values

    def result(
        state: State,
        change: float | None = None,
        norm: float | None = None,
        note: str | None = None,
    ) -> TensorChange:
        return TensorChange(
            name,
            naming.kind(name),
            naming.depth(name),
            state,
            one.layout if one else None,
            other.layout if other else None,
            change,
            norm,
            note,
        )

    if one is None or other is None:
        return result("only in B" if one is None else "only in A")
    if one.shape != other.shape:
        return result("reshaped", note="the shapes differ, so there is no norm of a difference")
    if one.type == other.type and values.equal(one, other):
        return result("same", 0.0)
    for side in (one, other):
        if not values.can_decode(side.type):
            return result("changed", note=f"values of type {side.type} cannot be decoded here")
    moved, norm = values.norms(one, other)
    if not math.isfinite(moved) or not math.isfinite(norm):
        return result("changed", note="some values are not finite")
    change = evolution.ratio(moved, norm)
    return result("changed", change, norm, None if change is not None else "all zeros in A")


def _metadata(a: Model, b: Model) -> list[tuple[str, str | None, str | None]]:
    rows = []
    for key in sorted(a.metadata.keys() | b.metadata.keys()):
        old, new = a.metadata.get(key), b.metadata.get(key)
        if old is None or new is None or old[0] != new[0]:
            rows.append((key, _shown(old), _shown(new)))
    return rows


def _shown(value: Value | None) -> str | None:
    return value[1]()[:_SHOWN] if value else None
