"""How long a training lasts, at most and until what is taught is known, and its learning rate.

The rate warms up, stays, and falls to nothing in a short last part, which may begin at any step: the length of such a
training need not be settled before it (Hu et al. 2024, arXiv 2404.06395, section 4; Hagele et al. 2024, arXiv
2405.18392). All that a resumed run must know is in the looks of the run before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luna.params import Train

KNOWN = "known"  # of a row of the trainer's log: the share known at its step
FALL = 0.5  # of the steps made before: so many more follow while the rate falls
WARM = 50  # steps at most: a share of a ceiling that is seldom reached would be too many
MOST_PASSES, LEAST_PASSES = 20.0, 3.0
FEWEST = (
    1.7  # passes before the rate falls: after fewer the facts are there, and the voice is not yet
)
_EXAMPLES = 8000  # seen in all, where that is between the least and the most passes


def passes(settings: Train, examples: int) -> float:
    """Over the training set, at most: ``epochs``, or from the number of examples where that is ``auto``."""
    if settings.epochs != "auto":
        return settings.epochs
    return min(MOST_PASSES, max(LEAST_PASSES, _EXAMPLES / max(1, examples)))


def ceiling(settings: Train, examples: int) -> int:
    """Steps, at most."""
    if settings.max_steps > 0:
        return settings.max_steps
    return _steps(settings, examples, passes(settings, examples))


def _steps(settings: Train, examples: int, passes: float) -> int:
    batches = math.ceil(examples / (settings.batch_size * settings.processes))
    return max(1, math.ceil(passes * math.ceil(batches / settings.gradient_accumulation)))


def until_known(settings: Train) -> bool:
    """Whether the training ends by itself; False: after as many steps as were asked for."""
    return settings.stop_when_known > 0 and settings.max_steps <= 0


@dataclass
class Pace:
    """Of one training that ends by itself. ``enough``: the share of what is taught that must be known."""

    enough: float
    ceiling: int
    warm: int
    shape: str  # of the fall, as train.lr_scheduler says
    least: int = 0  # steps before the rate falls
    looks: dict[int, float] = field(default_factory=dict)  # the share known, by step

    @classmethod
    def of(cls, settings: Train, examples: int) -> Pace:
        """By params.yaml and the number of examples."""
        most = ceiling(settings, examples)
        warm = min(WARM, round(settings.warmup_ratio * most))
        least = _steps(settings, examples, FEWEST)
        return cls(settings.stop_when_known, most, warm, settings.lr_scheduler, least)

    def remember(self, log: Iterable[Mapping[str, Any]]) -> None:
        """The looks that an earlier run noted in the trainer's log before its checkpoint."""
        for row in log:
            if KNOWN in row:
                self.looks[row["step"]] = row[KNOWN]

    @property
    def known_at(self) -> int | None:
        """The first step at which enough was known; None where that has not happened."""
        known = (step for step, share in self.looks.items() if share >= self.enough)
        return min(known, default=None)

    @property
    def falls_from(self) -> int:
        """The step from which the rate falls: where enough was known and the least is made, or in time for the ceiling."""
        latest = self.ceiling - math.floor(self._falling * self.ceiling / (1 + self._falling))
        return latest if self.known_at is None else min(latest, max(self.least, self.known_at))

    @property
    def last(self) -> int:
        """The step after which training ends, as far as is known by now."""
        start = self.falls_from
        return min(self.ceiling, start + math.ceil(self._falling * start))

    @property
    def _falling(self) -> float:
        return 0.0 if self.shape.startswith("constant") else FALL

    def factor(self, step: int) -> float:
        """The learning rate of the step after ``step`` others, as a share of train.learning_rate."""
        if step < self.warm:
            return (step + 1) / (self.warm + 1)
        start, last = self.falls_from, self.last
        if step < start or start == last:
            return 1.0
        gone = min(1.0, (step - start + 1) / (last - start + 1))
        return (1 + math.cos(math.pi * gone)) / 2 if self.shape == "cosine" else 1 - gone
