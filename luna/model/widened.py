"""Runs a 16-bit model in float32 arithmetic without ever holding it in float32.

The weights of a layer become float32 when it is called and are 16-bit again when it has answered, so the numbers are
those of a float32 copy, and the memory is that of the 16-bit file and one layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def widen(model: Any) -> None:
    """From now on each layer, and each module outside the layers, computes in float32. For forward passes alone."""
    for module, inner in _parts(model):
        own = [
            weight
            for weight in module.parameters(recurse=inner)
            if weight.dtype in (torch.bfloat16, torch.float16)
        ]
        if own:
            held = _Held(own)
            module.register_forward_pre_hook(held.widen)
            module.register_forward_hook(held.narrow, always_call=True)


class _Held:
    """The 16-bit values of weights that are float32 for the moment."""

    def __init__(self, weights: list[Any]) -> None:
        self._weights = weights
        self._narrow: list[Any] = []

    def widen(self, *_: Any) -> None:
        self._narrow = [weight.data for weight in self._weights]
        for weight in self._weights:
            weight.data = weight.data.float()

    def narrow(self, *_: Any) -> None:
        for weight, narrow in zip(self._weights, self._narrow, strict=False):
            weight.data = narrow
        self._narrow = []


def _parts(module: Any) -> Iterator[tuple[Any, bool]]:
    """Modules that are called, and whether all that is inside belongs to the call: the layers, and what is around them.

    A layer may use the weights of what is inside it without calling that.
    """
    yield module, False
    for child in module.children():
        if isinstance(child, torch.nn.ModuleList):
            yield from ((layer, True) for layer in child)
        else:
            yield from _parts(child)
