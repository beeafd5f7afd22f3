"""How far the weights of two generations are apart, from the smallest file that can tell.

Parent and child, and the base and any descendant: from the recorded table. Any other two: from the adapters
between them, as the norm of a sum of low-rank matrices, so that no weights are opened. Where those are not in
the cache, a note says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts, ledger
from luna.errors import LunaError
from luna.forensics.diff.known import Known, number
from luna.history.line import Line
from luna.history.lineage import Lineage
from luna.model import adapter, evolution, naming
from luna.names import BASE_PARENT
from luna.storage import cache

_DEFAULT_THRESHOLD = 0.04  # for generations whose record has none
_ADAPTER_OUT = re.compile(
    rf"path: {artifacts.ADAPTER.as_posix()}\n(?:(?!\s*- path:).*\n)*?\s*md5: (?P<md5>[0-9a-f]{{32}}\.dir)"
)


@dataclass(frozen=True)
class Moved:
    """One tensor's relative change ||W_B - W_A|| / ||W_A||, with ||W_A||."""

    tensor: str
    change: float | None
    norm: float


def section(line: Line, lineage: Lineage, a: Known, b: Known) -> dict[str, Any]:
    """``tensors`` is None, and ``note`` says why, where the distance is not known here."""
    threshold = (
        number(b.export, "evolution", "threshold")
        or number(a.export, "evolution", "threshold")
        or _DEFAULT_THRESHOLD
    )
    drift = {"a": a.number("evolution", "total_drift"), "b": b.number("evolution", "total_drift")}
    moved, how, note = _moved(line, lineage, a, b)
    if moved is None:
        return {
            "tensors": None,
            "how": how,
            "note": note,
            "threshold": threshold,
            "total_drift": drift,
        }
    changed = [item for item in moved if item.change is None or item.change > threshold]
    kinds = evolution.grouped((naming.kind(item.tensor), item.change, item.norm) for item in moved)
    depths = evolution.grouped(
        (naming.depth(item.tensor), item.change, item.norm)
        for item in moved
        if naming.depth(item.tensor) is not None
    )
    return {
        "how": how,
        "note": note,
        "threshold": threshold,
        "changed_layers": len(changed),
        "total_layers": len(moved),
        "weight_change_percent": round(100 * len(changed) / len(moved), 2) if moved else 0.0,
        "relative_change": evolution.together((item.change, item.norm) for item in moved),
        "total_drift": drift,
        "most_evolved": evolution.most(kinds),
        "most_evolved_depths": evolution.most(depths),
        "by_kind": {kind: kinds[kind] for kind in evolution.most(kinds, len(kinds))},
        "by_depth": {depth: depths[depth] for depth in sorted(depths)},
        "tensors": [
            {
                "tensor": item.tensor,
                "kind": naming.kind(item.tensor),
                "depth": naming.depth(item.tensor),
                "change": item.change,
            }
            for item in moved
        ],
    }


def _moved(
    line: Line, lineage: Lineage, a: Known, b: Known
) -> tuple[list[Moved] | None, str, str | None]:
    """The tensors, how they are known, and a note on that."""
    if a.name == b.name and a.tensors is not None:
        return (
            [Moved(item.tensor, 0.0, item.norm) for item in a.tensors],
            "the same generation",
            None,
        )
    if b.tensors is not None and b.entry.parent == a.entry.gen:
        return (
            [Moved(item.tensor, item.change, item.parent_norm) for item in b.tensors],
            "recorded",
            None,
        )
    chain_a, chain_b = (_chain(lineage, known.entry.gen) for known in (a, b))
    if (
        b.tensors is not None
        and a.entry.parent == BASE_PARENT
        and chain_b
        and chain_b[0] == a.entry.gen
    ):
        return (
            [Moved(item.tensor, item.drift, item.base_norm) for item in b.tensors],
            "recorded",
            None,
        )
    if a.tensors is None:
        return (
            None,
            "unknown",
            f"the norms of {a.short}'s weights are not recorded: its {artifacts.WEIGHT_CHANGE.as_posix()} cannot be read",
        )
    if a.entry.parent == b.entry.gen:
        return (
            [_turned(item.tensor, item.change, item.parent_norm, item.norm) for item in a.tensors],
            "recorded",
            None,
        )
    if chain_a is None or chain_b is None:
        return (
            None,
            "unknown",
            "the generations between them are unknown: a row of the ledger cannot be read",
        )
    if b.entry.parent == BASE_PARENT and chain_a[0] == b.entry.gen:
        return (
            [_turned(item.tensor, item.drift, item.base_norm, item.norm) for item in a.tensors],
            "recorded",
            None,
        )
    return _by_adapters(line, a, chain_a, chain_b)


def _turned(tensor: str, change: float | None, reference: float, norm: float) -> Moved:
    """The same distance measured against the other side's norm."""
    return Moved(
        tensor, None if change is None else evolution.ratio(change * reference, norm), norm
    )


def _chain(lineage: Lineage, gen: int) -> list[int] | None:
    """Numbers from generation 0 to ``gen``; None where a parent is not known."""
    parents = {entry.gen: entry.parent for entry in lineage.entries}
    chain = ledger.descent(parents, gen)
    return chain[::-1] if chain and parents[chain[-1]] == BASE_PARENT else None


def _by_adapters(
    line: Line, a: Known, one: Sequence[int], other: Sequence[int]
) -> tuple[list[Moved] | None, str, str | None]:
    shared = sum(1 for left, right in zip(one, other, strict=False) if left == right)
    if not shared:
        return (
            None,
            "unknown",
            "they descend from different ancestors: so their weights cannot be compared",
        )
    steps = [(gen, -1.0) for gen in one[shared:]] + [(gen, 1.0) for gen in other[shared:]]
    missing = [gen for gen, _ in steps if gen not in line.sealed]
    if missing:
        return (
            None,
            "unknown",
            f"the tag of G{missing[0]:03d}, which is between them, is not here: fetch it with 'git fetch'",
        )
    locks = line.git.cat(
        [f"refs/tags/{line.sealed[gen].name}:{artifacts.LOCK}" for gen, _ in steps]
    )
    adapters: list[tuple[float, Path, Path]] = []
    for (gen, sign), lock in zip(steps, locks, strict=True):
        files = _adapter_files(line.git.root, lock or b"")
        if files is None:
            return (
                None,
                "unknown",
                f"the adapter of G{gen:03d}, which is between them, is not in this clone's cache: run 'luna restore G{gen:03d}'",
            )
        adapters.append((sign, *files))
    own = {item.tensor for item in a.tensors or ()}
    parts: dict[str, list[tuple[float, Any, Any]]] = {}
    for (gen, _), (sign, config, weights) in zip(steps, adapters, strict=True):
        try:
            taught = adapter.read(config, weights)
            if taught.weights is None:
                raise ValueError("it says that it changes nothing")
            for name, (left, right) in _matrices(weights).items():
                if name not in own:
                    raise ValueError(f"it changes '{name}', which the model does not have")
                parts.setdefault(name, []).append((sign * taught.scale, left, right))
        except (LunaError, ValueError, KeyError, TypeError, ZeroDivisionError, OSError) as error:
            return (
                None,
                "unknown",
                f"the adapter of G{gen:03d}, which is between them, cannot be read ({error}): run 'luna restore G{gen:03d}'",
            )
    try:
        norms = {name: evolution.lora_norm(matrices) for name, matrices in parts.items()}
    except ValueError:
        return (
            None,
            "unknown",
            "the adapters between them are of different shapes: they do not belong to one model",
        )
    if not all(map(math.isfinite, norms.values())):
        return None, "unknown", "an adapter between them has values that are not finite numbers"
    count = len(steps)
    moved = [
        Moved(item.tensor, evolution.ratio(norms.get(item.tensor, 0.0), item.norm), item.norm)
        for item in a.tensors or ()
    ]
    return (
        moved,
        "adapters",
        f"from the {count} adapter{'s' if count > 1 else ''} between them, before rounding to 16 bits",
    )


def _matrices(weights: Path) -> dict[str, tuple[Any, Any]]:
    """Weight name -> (A, B) in float64. Raises ValueError or a LunaError for a file that is no LoRA adapter, KeyError where one side is missing."""
    from luna.forensics.tensors import values
    from luna.model.tensors.opening import open_model

    sides: dict[str, dict[str, Any]] = {}
    for key, item in open_model(weights).tensors.items():
        name, side = adapter.part(key)
        sides.setdefault(name, {})[side] = values.matrix(item)
    return {name: (both["A"], both["B"]) for name, both in sides.items()}


def _adapter_files(root: Path, lock: bytes) -> tuple[Path, Path] | None:
    """Configuration and weights in the cache. The lock is searched and not parsed: a line may have a thousand of them."""
    match = _ADAPTER_OUT.search(lock.decode("utf-8", "replace"))
    listing = cache.find(root, match["md5"]) if match else None
    try:
        entries: Mapping[str, str] = (
            {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
            if listing
            else {}
        )
        config, weights = (
            cache.find(root, entries[name]) for name in (adapter.CONFIG, adapter.WEIGHTS)
        )
    except (ValueError, KeyError, TypeError):
        return None
    return (config, weights) if config and weights else None
