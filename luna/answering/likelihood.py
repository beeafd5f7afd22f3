"""How likely a model takes a text to be after a prompt."""

from __future__ import annotations

import numpy as np

from luna.answering.engine import Engine


def mean_log_likelihood(engine: Engine, prompt: list[int], reply: str) -> float:
    """Mean log-probability (nats per token) of the reply after the prompt; -inf where it is no number."""
    tokens = engine.tokenise(reply)
    if not tokens or len(prompt) + len(tokens) > engine.limit:
        return float("-inf")
    rows = engine.logits([*prompt, *tokens], len(prompt) - 1)[:-1].astype(np.float64)
    rows -= rows.max(1, keepdims=True)
    value = (rows - np.log(np.exp(rows).sum(1, keepdims=True)))[
        np.arange(len(tokens)), tokens
    ].mean()
    return float(value) if np.isfinite(value) else float("-inf")
