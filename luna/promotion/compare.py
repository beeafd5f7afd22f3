"""Compares a generation with its parent on the same probes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luna.promotion.intervals import mcnemar
from luna.scores import ABILITY


@dataclass(frozen=True)
class Flips:
    """Answers that went from right to wrong (``lost``) and back (``won``), of ``common`` probes asked of both.

    ``by_another_measure``: probes asked of both that are not compared, since the parent's answer was marked otherwise.
    """

    lost: list[dict[str, Any]]
    won: list[dict[str, Any]]
    common: int
    by_another_measure: int = 0

    def regression(self, kind: str) -> float:
        """One-sided exact p that the child is worse on probes of this kind."""
        return mcnemar(
            sum(row["kind"] == kind for row in self.lost),
            sum(row["kind"] == kind for row in self.won),
        )


def of_ability(
    child: Sequence[Mapping[str, Any]], parent: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """One-sided exact p that the child has kept less of the base, by rows of models/ability.jsonl; none where nothing was asked of both."""
    before = {row["question"]: row["right"] for row in parent}
    both = [(before[row["question"]], row["right"]) for row in child if row["question"] in before]
    if not both:
        return {}
    lost, won = sum(was and not now for was, now in both), sum(now > was for was, now in both)
    return {ABILITY.name: mcnemar(lost, won)}


def flips(child: Sequence[Mapping[str, Any]], parent: Iterable[Mapping[str, Any]]) -> Flips:
    """Compare rows of two answers.jsonl by the probes' content hashes."""
    before = {row["probe"]: row for row in parent}
    both = [row for row in child if row["probe"] in before]
    common = [row for row in both if before[row["probe"]].get("marked_by") == row.get("marked_by")]
    lost = [dict(row) for row in common if before[row["probe"]]["correct"] and not row["correct"]]
    won = [dict(row) for row in common if row["correct"] and not before[row["probe"]]["correct"]]
    return Flips(lost, won, len(common), len(both) - len(common))
