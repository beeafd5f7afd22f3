"""The ability eval: of what the base answers rightly, the share that still is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals import general
from evals.general import Asked, Texts, right_by_set
from evals.outcome import Score
from luna.answering.general_text import Likelihood
from luna.params import Evaluate
from luna.promotion.intervals import wilson
from luna.promotion.size import LEAST_GENERAL

_SHOWN = 10  # lost answers in the details; models/ability.jsonl has all


def askable(base: Sequence[Asked]) -> list[Asked]:
    """What a generation is asked: what the base answered rightly; nothing where that is too little to tell anything."""
    right = [item for item in base if item.right]
    return right if len(right) >= LEAST_GENERAL else []


def examine(
    model: Path,
    base: Sequence[Asked],
    before: Texts,
    folder: Path,
    system_prompt: str,
    settings: Evaluate,
) -> tuple[list[Asked], Score]:
    """Ask a model again what the base answered rightly, and read it the prose in ``folder``. ``before``: as the base held the texts."""
    questions = [item.question for item in askable(base)]
    now = general.answers(model, questions, system_prompt, settings)
    after = general.texts(model, base, folder, before.prose_of, system_prompt)
    return now, score(base, now, before, after)


def score(base: Sequence[Asked], now: Sequence[Asked], before: Texts, after: Texts) -> Score:
    """``base``: all its answers; ``now``: the generation's, to what ``askable`` gives. No value where nothing was asked.

    ``details`` have the share by kind of question, and how much less likely general text has become, in nats a token.
    """
    details = {
        "of_base": right_by_set(base),
        "by_kind": _by_kind(now),
        "lost": [[item.question.ask, item.answer] for item in now if not item.right][:_SHOWN],
        "prose_of": before.prose_of,
        "prose": _change(before.prose, after.prose),
        "own_answers": _change(before.own, after.own),
    }
    if not now:
        return Score(None, sum(item.right for item in base), details=details)
    kept = sum(item.right for item in now)
    low, high = wilson(kept, len(now))
    return Score(kept / len(now), len(now), low, high, details)


def _by_kind(now: Sequence[Asked]) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = defaultdict(lambda: {"kept": 0, "of": 0})
    for item in now:
        kinds[item.question.kind]["kept"] += item.right
        kinds[item.question.kind]["of"] += 1
    return dict(kinds)


def _change(before: Likelihood, after: Likelihood) -> dict[str, Any]:
    """Mean log-likelihood of a token; ``perplexity``: how many times the base's it is."""
    change = None
    same = before.tokens == after.tokens  # else the text was changed since
    if same and before.nats is not None and after.nats is not None:
        change = after.nats - before.nats
    return {
        "base": before.nats,
        "now": after.nats,
        "change": change,
        "perplexity": None if change is None else math.exp(min(-change, 50.0)),
        "tokens": after.tokens,
    }
