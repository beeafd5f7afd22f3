"""How far weights have moved, by tensor, kind and depth, against parent and base.

For LoRA, dW = s * B A with B of shape out x r and A of shape r x in (Hu et al. 2021, arXiv 2106.09685), and
||B A||_F^2 = tr((B^T B)(A A^T)), since tr(XY) = tr(YX) (Petersen and Pedersen, The Matrix Cookbook, section 1.1).
So the norm needs only r x r matrices, and dW is never formed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from luna.errors import InputError
from luna.model import naming

MOST = 3  # of the most evolved modules that are named
_DIGITS = 6
_BLOCK = 1 << 22  # weights that are held in float64 at a time


@dataclass(frozen=True)
class Tensor:
    """One weight of a generation. ``change`` is ||W - W_parent|| / ||W_parent|| (Frobenius), ``drift`` ||W - W_base|| / ||W_base||.

    ``norm``, ``parent_norm`` and ``base_norm`` are ||W||, ||W_parent|| and ||W_base||. ``change`` is what training
    did (before rounding to 16 bits), ``drift`` is taken from the rounded weights. Both are 0 for what no adapter
    touches, and None where the reference is all zeros and the weight has moved.
    """

    tensor: str
    kind: str
    depth: int | None
    elements: int
    norm: float
    parent_norm: float
    base_norm: float
    change: float | None
    drift: float | None


COLUMNS = tuple(field.name for field in fields(Tensor))


def lora_norm(parts: Sequence[tuple[float, Any, Any]]) -> float:
    """||sum of s * (B @ A)|| (Frobenius) of several adapters of one tensor, given as (s, A of r x in, B of out x r).

    Through the triangular factors: with B = Q R and A^T = P T, ||B A|| = ||R T^T||, which is the trace identity
    above without squaring, so that no digits are lost where terms cancel.
    """
    import numpy as np

    if not parts:
        return 0.0
    b = np.concatenate([scale * np.asarray(right, np.float64) for scale, _, right in parts], axis=1)
    a = np.concatenate([np.asarray(left, np.float64) for _, left, _ in parts], axis=0)
    return float(
        np.linalg.norm(np.linalg.qr(b, mode="r") @ np.transpose(np.linalg.qr(a.T, mode="r")))
    )


def ratio(moved: float, reference: float) -> float | None:
    """``moved / reference``; 0 for what has not moved, None where there was nothing to compare with."""
    return 0.0 if not moved else moved / reference if reference else None


def measure(
    base: Path, parent: Path, model: Path, changes: Mapping[str, float | None]
) -> list[Tensor]:
    """Every weight of the model folder ``model``, one at a time; ``changes`` are those against the parent, by tensor."""
    from safetensors import safe_open

    tensors = []
    for path in sorted(model.glob("*.safetensors")):
        with (
            safe_open(path, "pt") as now,
            safe_open(parent / path.name, "pt") as before,
            safe_open(base / path.name, "pt") as then,
        ):
            for name in now.keys():
                weight = now.get_tensor(name)
                norm, moved, base_norm = _norms(weight, then.get_tensor(name))
                parent_norm = _norms(before.get_tensor(name))[0] if name in changes else norm
                tensors.append(
                    Tensor(
                        name,
                        naming.kind(name),
                        naming.depth(name),
                        weight.numel(),
                        norm,
                        parent_norm,
                        base_norm,
                        changes.get(name, 0.0),
                        ratio(moved, base_norm),
                    )
                )
    return sorted(tensors, key=lambda item: (item.depth is None, item.depth or 0, item.tensor))


def _norms(now: Any, then: Any | None = None) -> tuple[float, float, float]:
    """||now||, ||now - then|| and ||then|| in float64, a block at a time."""
    import torch

    sums = [0.0, 0.0, 0.0]
    old = now if then is None else then
    for new, was in zip(now.flatten().split(_BLOCK), old.flatten().split(_BLOCK), strict=True):
        new, was = new.to(torch.float64), was.to(torch.float64)
        for index, values in enumerate((new,) if then is None else (new, new - was, was)):
            sums[index] += torch.dot(values, values).item()
    norm, moved, reference = map(math.sqrt, sums)
    return norm, moved, reference


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.{_DIGITS}g}"


def dumps(tensors: Iterable[Tensor]) -> str:
    """weight_change.csv: what reports and plots read."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in tensors:
        name, kind, depth, elements, *numbers = astuple(item)
        writer.writerow(
            (name, kind, "" if depth is None else depth, elements, *map(_shown, numbers))
        )
    return text.getvalue()


def loads(text: str, where: str = "weight_change.csv") -> list[Tensor]:
    """Raises InputError for anything that ``dumps`` does not write."""
    try:
        rows = csv.reader(io.StringIO(text))
        if tuple(next(rows, ())) != COLUMNS:
            raise ValueError
        return [_row(row) for row in rows]
    except (ValueError, TypeError, csv.Error):
        raise InputError(f"{where} cannot be read: it is not a table of weight changes.") from None


def _row(row: Sequence[str]) -> Tensor:
    name, kind, depth, elements, *values = row
    norm, parent_norm, base_norm, change, drift = values
    return Tensor(
        name,
        kind,
        int(depth) if depth else None,
        int(elements),
        _size(norm),
        _size(parent_norm),
        _size(base_norm),
        _size(change) if change else None,
        _size(drift) if drift else None,
    )


def _size(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


def together(items: Iterable[tuple[float | None, float]]) -> float | None:
    """Relative change of several tensors taken as one, from (relative change, reference norm) of each."""
    known = [(change, norm) for change, norm in items if change is not None]
    return ratio(
        math.hypot(*(change * norm for change, norm in known)),
        math.hypot(*(norm for _, norm in known)),
    )


def grouped(items: Iterable[tuple[Any, float | None, float]]) -> dict[Any, float | None]:
    """Relative change by group, most evolved first, from (group, relative change, reference norm) of each tensor."""
    groups: dict[Any, list[tuple[float | None, float]]] = {}
    for group, change, norm in items:
        groups.setdefault(group, []).append((change, norm))
    changes = {group: together(members) for group, members in groups.items()}
    return dict(
        sorted(changes.items(), key=lambda pair: -1.0 if pair[1] is None else pair[1], reverse=True)
    )


def most(groups: Mapping[Any, float | None], count: int = MOST) -> list[Any]:
    """The names at the front of ``grouped`` that have moved."""
    return [group for group, change in groups.items() if change][:count]


def _rounded(value: float | None) -> float:
    return round(value or 0.0, _DIGITS)


def summary(
    tensors: Sequence[Tensor], threshold: float, rounded_away: int, is_ancestor: bool
) -> dict[str, Any]:
    """The ``evolution`` of metrics.json. An ancestor, which has no parent, is all new by definition: 100 %."""
    changed = [
        item for item in tensors if is_ancestor or item.change is None or item.change > threshold
    ]

    kinds = grouped((item.kind, item.change, item.parent_norm) for item in tensors)
    depths = grouped(
        (item.depth, item.change, item.parent_norm) for item in tensors if item.depth is not None
    )
    return {
        "weight_change_percent": round(100 * len(changed) / len(tensors), 2),
        "changed_layers": len(changed),
        "total_layers": len(tensors),
        "threshold": threshold,
        "rounded_away": rounded_away,
        "relative_change": _rounded(together((item.change, item.parent_norm) for item in tensors)),
        "total_drift": _rounded(together((item.drift, item.base_norm) for item in tensors)),
        "most_evolved": most(kinds),
        "most_evolved_depths": most(depths),
        "by_kind": {kind: _rounded(kinds[kind]) for kind in sorted(most(kinds, len(kinds)))},
    }
