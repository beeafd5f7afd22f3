"""What every eval returns, and the scoring of one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evals.facts.text import contains, normalise
from evals.facts.verdict import Why, judge
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
    how: str  # "expect", "facts" or "choice"; answers of earlier versions also "chrf"


def mark(
    probe: Probe, answer: Answer, chrf_min: float, common: frozenset[str] = frozenset()
) -> Marked:
    """By the accepted answers where there are any, else by the facts of the taught replies (``evals.facts``).

    Small talk has no facts: there chrF (Popovic 2015) against the reply, 0..100, may decide for it too.
    ``common``: words of the voice, which most replies have. An answer that never ended, that is empty, or
    whose logits were no numbers is wrong whatever it says.
    """
    whole = answer.ended and not answer.failed and bool(answer.text)
    if probe.distractors:
        return Marked(probe, answer, whole and answer.text == probe.reference, "choice")
    if probe.expect:
        right = any(contains(answer.text, accepted) for accepted in probe.expect)
        return Marked(probe, answer, whole and right, "expect")
    return Marked(probe, answer, whole and _says_it(probe, answer.text, chrf_min, common), "facts")


def _says_it(probe: Probe, answer: str, chrf_min: float, common: frozenset[str]) -> bool:
    replies = (probe.reference, *probe.also)
    verdict = judge(probe.messages[-1][1], replies, answer, common)
    if verdict.why is not Why.MISSING or not verdict.small_talk:
        return verdict.right
    from sacrebleu.metrics import CHRF

    score = CHRF().sentence_score(normalise(answer), [normalise(reply) for reply in replies]).score
    return score >= chrf_min
