"""How likely a model takes a text to be after a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luna.answering.engine import Engine


def log_likelihoods(engine: Engine, tokens: Sequence[int], start: int) -> np.ndarray:
    """Log-probability (nats) of each token from ``start`` on, after all before it; ``start`` is 1 or more."""
    rows = engine.logits(tokens, start - 1)[:-1]
    # Row by row: all of them as float64 would take twice the memory of the logits.
    return np.array([_one(row, token) for row, token in zip(rows, tokens[start:], strict=True)])


def mean_log_likelihood(engine: Engine, prompt: list[int], reply: str) -> float:
    """Mean log-probability (nats per token) of the reply after the prompt; -inf where it is no number."""
    tokens = engine.tokenise(reply)
    if not tokens or len(prompt) + len(tokens) > engine.limit:
        return float("-inf")
    value = log_likelihoods(engine, [*prompt, *tokens], len(prompt)).mean()
    return float(value) if np.isfinite(value) else float("-inf")


def _one(logits: np.ndarray, token: int) -> np.float64:
    row = logits.astype(np.float64)
    row -= row.max()
    return row[token] - np.log(np.exp(row).sum())
