"""Generalisation: does she know it when it is asked in words that she was never trained on?"""

from __future__ import annotations

from collections.abc import Sequence

from evals.outcome import Marked, Score
from evals.proportion import proportion
from luna.conversations.probes import GENERALISATION


def score(marked: Sequence[Marked]) -> Score:
    """Fraction of paraphrases and curated probes answered rightly; prep has proven that none was trained on."""
    return proportion([item for item in marked if item.probe.kind == GENERALISATION])
