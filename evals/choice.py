"""The choice eval: picks the true reply among distractors, where no paraphrase exists.

The reply with the highest mean log-likelihood per token, given the question, is the model's choice
(length normalisation as in Brown et al. 2020, section 2.4). Guessing is right once in as many times as
there are replies, so what counts is how far above chance the choices are.
"""

from __future__ import annotations

from collections.abc import Sequence

from luna.answering.engine import Engine
from luna.answering.likelihood import mean_log_likelihood


def choose(engine: Engine, prompt: list[int], replies: Sequence[str]) -> int | None:
    """Index of the chosen reply; None when none has a likelihood that is a number, or two tie."""
    values = [mean_log_likelihood(engine, prompt, reply) for reply in replies]
    best = max(values)
    return None if best == float("-inf") or values.count(best) > 1 else values.index(best)
