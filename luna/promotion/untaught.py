"""What the untaught base scores in a taught generation's exam, by the answers that generation 0 gave.

A clause that the base passes on the very data that it judges says nothing about what was learnt. Generation 0 is
asked all that waits to be taught, so of its first child's probes it has answered nearly all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luna.promotion.intervals import above_chance
from luna.scores import GENERALISATION, RECALL

_FEWEST = 10  # probes asked of both, below which nothing is said


def scores(
    child: Sequence[Mapping[str, Any]], base: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Recall and generalisation of the base, 0..1, on the child's probes that both were asked and that were marked in the same way.

    Both are rows of answers.jsonl. A score that rests on too few probes is left out.
    """
    before = {row["probe"]: row for row in base}
    both = [
        before[row["probe"]]
        for row in child
        if row["probe"] in before and before[row["probe"]].get("marked_by") == row.get("marked_by")
    ]
    values = {RECALL.name: _recall(both), GENERALISATION.name: _generalisation(both)}
    return {name: value for name, value in values.items() if value is not None}


def _right(rows: Sequence[Mapping[str, Any]], kind: str) -> tuple[int, int]:
    asked = [row for row in rows if row["kind"] == kind]
    return sum(row["correct"] for row in asked), len(asked)


def _recall(rows: Sequence[Mapping[str, Any]]) -> float | None:
    right, n = _right(rows, RECALL.name)
    return right / n if n >= _FEWEST else None


def _generalisation(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """As evals/generalisation.py counts: choices by how far they are above chance."""
    chosen = [row for row in rows if row.get("distractors")]
    free, asked = _right(rows, GENERALISATION.name)
    n = asked + len(chosen)
    if n < _FEWEST:
        return None
    replies = max((len(row["distractors"]) + 1 for row in chosen), default=2)
    right = sum(row["correct"] for row in chosen)
    above = above_chance(right, len(chosen), replies) if chosen else 0.0
    return (free + above * len(chosen)) / n
