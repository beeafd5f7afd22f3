"""What a line has gained and what it has cost, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luna.scores import ABILITY, RECALL


@dataclass(frozen=True)
class Balance:
    """Of ``asked`` taught things that were asked ``known`` are known; ``kept`` is the share of what the base could do, None: not known.

    ``perplexity``: of general prose, in times of the base's.
    """

    known: int
    asked: int
    kept: float | None
    perplexity: float | None

    @property
    def sentence(self) -> str:
        """For a person."""
        cost = (
            "what it keeps of the base was not measured"
            if self.kept is None
            else f"keeps {self.kept:.0%} of what the base could do"
        )
        prose = (
            ""
            if self.perplexity is None
            else f" (perplexity of general prose: {self.perplexity:.2f} times the base's)"
        )
        return f"knows {self.known} of {self.asked} taught things that it was asked; {cost}{prose}"


def of(metrics: Any) -> Balance | None:
    """From a generation's metrics.json; None for generation 0, which was taught nothing, and where it cannot be read."""
    try:
        scores, taught = metrics["evaluation"], metrics["training"]["steps"]
        n, recall = scores["intervals"][RECALL.name]["n"], scores[RECALL.key]
        general: Mapping[str, Any] = scores.get("general") or {}
        perplexity = (general.get("prose") or {}).get("perplexity")
        if not taught or not n or recall is None:
            return None
        return Balance(round(recall * n), n, scores.get(ABILITY.key), perplexity)
    except (KeyError, TypeError, AttributeError):
        return None
