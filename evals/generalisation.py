"""The generalisation eval: taught facts asked in words that were never trained on."""

from __future__ import annotations

from collections.abc import Sequence

from evals.outcome import Marked, Score
from evals.proportion import by_generation, proportion
from luna.conversations.probes import CHOICE, DISTRACTORS, GENERALISATION
from luna.promotion.intervals import above_chance, wilson


def score(marked: Sequence[Marked]) -> Score:
    """Fraction of paraphrases and curated probes answered rightly; prep has proven that none was trained on.

    Held-out conversations count by how far choosing their true reply is above chance. Where there are
    both, they are weighted by their numbers, and the interval is Wilson's for the weighted fraction.
    """
    asked = [item for item in marked if item.probe.kind == GENERALISATION]
    chosen = [item for item in marked if item.probe.kind == CHOICE]
    if not chosen:
        return proportion(asked, {"method": "paraphrases"})
    correct = sum(item.correct for item in chosen)
    above = above_chance(correct, len(chosen), DISTRACTORS + 1)
    n = len(asked) + len(chosen)
    successes = sum(item.correct for item in asked) + above * len(chosen)
    low, high = wilson(successes, n)
    details = {
        "method": "paraphrases and choice among replies" if asked else "choice among replies",
        "choice": {"correct": correct, "n": len(chosen), "above_chance": above},
    }
    return Score(
        successes / n, n, low, high, details | {"by_generation": by_generation(asked + chosen)}
    )
