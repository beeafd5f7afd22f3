"""Checks that the exported file predicts the same tokens as base and adapter.

A merged or exported model that behaves as if never trained is the field's most reported failure, so
the export is not done before this has been measured on the file itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luna.answering.engine import Engine
from luna.conversations.examples import IGNORED, Teaching
from luna.conversations.schema import Conversation
from luna.errors import ExportError
from luna.model import tokenizer as tokenizers
from luna.params import Fidelity

MAX_TOKENS = 256


@dataclass(frozen=True)
class Comparison:
    """``agreement``: fraction of positions with the same next token; ``divergence``: mean KL in nats; over ``positions``."""

    agreement: float
    divergence: float
    positions: int


@dataclass(frozen=True)
class Reference:
    """Logits of base + adapter (float32 arithmetic) at the positions of the replies; tokens of each conversation."""

    tokens: list[list[int]]
    starts: list[int]
    logits: list[np.ndarray]


def reference(
    weights: Path, adapter: Path | None, conversations: Sequence[Conversation], system_prompt: str
) -> Reference:
    """Run the parent's 16-bit weights with the adapter beside them, unmerged, in transformers and peft."""
    import torch
    from transformers import AutoModelForCausalLM

    from luna.model import widened

    folder = str(weights.resolve())
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False
    )
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter.resolve()))
    model.eval()
    widened.widen(model)
    tokens, starts, logits = [], [], []
    with Teaching(tokenizers.load(weights)) as teaching:
        examples = [
            teaching.examples(conversation.messages, system_prompt, sys.maxsize)[0]
            for conversation in conversations
        ]
    for ids, labels in ((one.ids[:MAX_TOKENS], one.labels[:MAX_TOKENS]) for one in examples):
        if all(label == IGNORED for label in labels):
            continue  # its first question alone is longer
        start = next(i for i, label in enumerate(labels) if label != IGNORED) - 1
        if start < 0 or start >= len(ids) - 1:
            continue
        with torch.inference_mode():
            rows = model(torch.tensor([ids])).logits[0, start:]
        tokens.append(ids)
        starts.append(start)
        logits.append(rows.float().numpy())
    return Reference(tokens, starts, logits)


def compare(expected: Reference, engine: Engine) -> Comparison:
    """How well the exported model agrees with the reference, token by token."""
    agree = total = 0
    divergence = 0.0
    for tokens, start, rows in zip(expected.tokens, expected.starts, expected.logits, strict=True):
        logits = engine.logits(tokens, start)
        agree += int((logits.argmax(1) == rows.argmax(1)).sum())
        p, q = _log_softmax(rows), _log_softmax(logits)
        divergence += float((np.exp(p) * (p - q)).sum())
        total += len(rows)
    if not total:
        raise ExportError(
            "There is no reply for comparing the export: check the conversations in data/conversations."
        )
    return Comparison(agree / total, max(0.0, divergence / total), total)


def require(comparison: Comparison, bounds: Fidelity) -> None:
    """Raises ExportError when the 16-bit export does not follow base + adapter (a NaN does not either)."""
    if not (
        comparison.agreement >= bounds.min_agreement
        and comparison.divergence <= bounds.max_divergence
    ):
        raise ExportError(
            f"The exported model does not follow base + adapter: next-token agreement {comparison.agreement:.3f} "
            f"(at least {bounds.min_agreement}), divergence {comparison.divergence:.4f} nats (at most {bounds.max_divergence}); "
            "see export.fidelity in params.yaml."
        )


def _log_softmax(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    rows = rows - rows.max(1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(1, keepdims=True))
