"""A proportion of right answers with its interval: what recall and generalisation share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from evals.outcome import Marked, Score
from luna.promotion.intervals import wilson


def by_generation(marked: Sequence[Marked]) -> dict[str, dict[str, int]]:
    """Right and asked, by the generation that taught the probe (``untaught`` where none did)."""
    groups: dict[str, dict[str, int]] = defaultdict(lambda: {"correct": 0, "n": 0})
    for item in marked:
        key = "untaught" if item.probe.generation is None else str(item.probe.generation)
        groups[key]["correct"] += item.correct
        groups[key]["n"] += 1
    return dict(
        sorted(groups.items(), key=lambda pair: (pair[0] == "untaught", len(pair[0]), pair[0]))
    )


def proportion(marked: Sequence[Marked], details: dict[str, Any] | None = None) -> Score:
    """The share of right answers with Wilson's interval, 0..1; no value where nothing was asked."""
    if not marked:
        return Score(None, 0, details=details)
    correct = sum(item.correct for item in marked)
    low, high = wilson(correct, len(marked))
    return Score(
        correct / len(marked),
        len(marked),
        low,
        high,
        (details or {}) | {"by_generation": by_generation(marked)},
    )
