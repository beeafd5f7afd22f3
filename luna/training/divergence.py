"""How far a model in training has moved from its parent on general text: Kullback-Leibler divergence.

What a model forgets of its old tasks follows how far it moved from its parent (Shenfeld et al. 2025, arXiv 2509.04259).
The replies alone say which word the parent would choose; the divergence says how likely it holds every other one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax


def from_parent(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """The sum over the tokens of ``inputs`` but each row's last, nats. The parent is ``model`` (of peft) without its adapter.

    ``inputs``: input_ids and attention_mask, both (rows, tokens), padded on the right.
    """
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    spoken = given["attention_mask"][:, 1:].bool()
    with _without_noise(model):
        with torch.no_grad(), model.disable_adapter():
            before = model(**given, use_cache=False).logits[:, :-1][spoken]
            before = log_softmax(before.float(), -1)
        now = model(**given, use_cache=False).logits[:, :-1][spoken]
    return kl_div(log_softmax(now.float(), -1), before, reduction="sum", log_target=True)


@contextlib.contextmanager
def _without_noise(model: Any) -> Iterator[None]:
    """The noise of NEFTune is added where the embeddings are in training."""
    embeddings = model.get_input_embeddings()
    training = embeddings.training
    embeddings.training = False
    try:
        yield
    finally:
        embeddings.training = training
