"""Makes a trained adapter as small as it may be while what it taught is still known.

Between the weights of a model and those of its fine-tuned child lie models that know the new and keep more of the old
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903). Of a low-rank adapter the way between
them is its scale, which costs nothing to change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STEP = 0.1  # of the full scale


def smallest(share: Callable[[float], float], least: float) -> float:
    """Of the scales 1.0, 0.9 ... ``least`` the last at which no less is known than at the full one; ``share``: what is known, 0..1."""
    enough, scale = share(1.0), 1.0
    while scale - STEP >= least - STEP / 2 and share(round(scale - STEP, 2)) >= enough:
        scale = round(scale - STEP, 2)
    return scale


class Scaled:
    """A model with a low-rank adapter, whose scale can be changed; 1.0 is as it was trained."""

    def __init__(self, model: Any) -> None:
        self._full = {
            module: dict(module.scaling)
            for module in model.modules()
            if isinstance(getattr(module, "scaling", None), dict)
        }
        self._model = model

    def to(self, scale: float) -> None:
        """Of every matrix, in the model alone: what is saved is not changed."""
        for module, full in self._full.items():
            module.scaling.update({name: value * scale for name, value in full.items()})

    def keep(self, scale: float) -> None:
        """In the model and in what is saved of it."""
        self.to(scale)
        for config in self._model.peft_config.values():
            config.lora_alpha = config.lora_alpha * scale
