"""How likely a model holds a text to be: the log-likelihood of its tokens, by llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from luna.answering.engine import Engine
from luna.answering.likelihood import log_likelihoods

WINDOW = 256  # tokens that are run at once; the first of them has no context and is not counted


@dataclass(frozen=True)
class Likelihood:
    """``nats``: mean log-likelihood of a token (at most 0), over ``tokens`` of them; None where there is none or it is no number."""

    nats: float | None
    tokens: int


def of_texts(engine: Engine, texts: Sequence[str]) -> Likelihood:
    """Of plain prose, read in windows without a chat template. The engine's context must hold a window."""
    return _mean(engine, ((window, 1) for text in texts for window in _windows(engine, text)))


def of_replies(engine: Engine, asked: Sequence[tuple[list[int], str]]) -> Likelihood:
    """Of replies after their prompts; those that do not fit into the engine's context are left out."""
    rows = ((prompt, engine.tokenise(reply)) for prompt, reply in asked)
    return _mean(
        engine,
        (
            ([*prompt, *reply], len(prompt))
            for prompt, reply in rows
            if reply and len(prompt) + len(reply) <= engine.limit
        ),
    )


def _windows(engine: Engine, text: str) -> Iterator[list[int]]:
    tokens = engine.tokenise(text)
    for start in range(0, len(tokens), WINDOW):
        if len(window := tokens[start : start + WINDOW]) > 1:
            yield window


def _mean(engine: Engine, rows: Iterator[tuple[list[int], int]]) -> Likelihood:
    """Of all tokens from the given position of each row on."""
    total, count = 0.0, 0
    for tokens, start in rows:
        nats = log_likelihoods(engine, tokens, start)
        total += float(nats.sum())
        count += len(nats)
    return Likelihood(total / count if count and np.isfinite(total) else None, count)
