"""The recall eval: taught questions of all generations of the line, in the words of the lesson."""

from __future__ import annotations

from collections.abc import Sequence

from evals.outcome import Marked, Score
from evals.proportion import proportion
from luna.conversations.probes import RECALL


def score(marked: Sequence[Marked], generation: int) -> Score:
    """Fraction of taught questions answered rightly, over all taught data of the line.

    ``details`` have the recall of what this generation was taught (``new``) and of older data
    (``old``).
    """
    asked = [item for item in marked if item.probe.kind == RECALL]
    new = [item for item in asked if item.probe.generation == generation]
    old = [
        item
        for item in asked
        if item.probe.generation is not None and item.probe.generation != generation
    ]
    return proportion(asked, {"new": _fraction(new), "old": _fraction(old)})


def _fraction(items: Sequence[Marked]) -> float | None:
    return sum(item.correct for item in items) / len(items) if items else None
