"""What is known of a build while it runs, whoever started it: stage, step, loss, memory, time left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from luna import artifacts
from luna.repo.running import running

_TAIL_BYTES = 1 << 20  # of a curve
_POINTS = 240  # more than a small picture has pixels for


def build(root: Path) -> dict[str, Any] | None:
    """None where no build runs in this folder. The curve and the memory only while it trains."""
    now = running(root)
    if now is None:
        return None
    training = now.stage == "train" and now.training is not None
    curve = _rows(root / artifacts.LOSS_CURVE) if training else []
    every = max(1, -(-len(curve) // _POINTS))
    memory = _rows(root / artifacts.RESOURCES["memory"]) if training else []
    return asdict(now) | {
        "sentence": now.sentence,
        "curve": curve[::every] + (curve[-1:] if (len(curve) - 1) % every else []),
        "memory_gb": memory[-1][1] if memory else None,
    }


def _rows(path: Path) -> list[tuple[int, float]]:
    """Step and value of each row that is whole: the training writes it meanwhile."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        step, _, value = line.partition("\t")
        try:
            rows.append((int(step), float(value)))
        except ValueError:
            continue
    return rows
