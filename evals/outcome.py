"""What every eval returns, and the scoring of one answer."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from luna.answering.engine import Answer
from luna.conversations.probes import Probe


@dataclass(frozen=True)
class Score:
    """``value`` is a fraction 0..1, None when there was nothing to measure; ``low``..``high`` its 95 % interval."""

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    details: dict[str, Any] | None = None


@dataclass(frozen=True)
class Marked:
    """One probe with the answer that was given and the mark that it got."""

    probe: Probe
    answer: Answer
    correct: bool
    how: str  # "expect", "chrf" or "choice"


def normalise(text: str) -> str:
    """Case, punctuation and spacing do not matter; digits do, though not their thousands separators."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"(?<=\d)[,\u202f ](?=\d{3}\b)", "", text)
    # A dot or comma inside a number is part of it; all other punctuation parts words.
    text = re.sub(r"(?<!\d)[^\w\s]|[^\w\s](?!\d)", " ", text)
    return " ".join(text.split())


def contains(answer: str, accepted: str) -> bool:
    """Whether the answer contains the accepted answer as whole words."""
    wanted = normalise(accepted)
    return bool(wanted) and f" {wanted} " in f" {normalise(answer)} "


def mark(probe: Probe, answer: Answer, chrf_min: float) -> Marked:
    """By the accepted answers where there are any, else by chrF (Popovic 2015) against the reference reply.

    An answer that never ended, that is empty, or whose logits were no numbers is wrong whatever it says.
    """
    whole = answer.ended and not answer.failed and bool(answer.text)
    if probe.distractors:
        return Marked(probe, answer, whole and answer.text == probe.reference, "choice")
    if probe.expect:
        return Marked(
            probe,
            answer,
            whole and any(contains(answer.text, accepted) for accepted in probe.expect),
            "expect",
        )
    from sacrebleu.metrics import CHRF

    score = (
        CHRF().sentence_score(normalise(answer.text), [normalise(probe.reference)]).score
        if whole
        else 0.0
    )
    return Marked(probe, answer, score >= chrf_min, "chrf")
