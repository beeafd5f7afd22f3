"""Watches the loss of each step: not a number, diverging, or on a plateau.

Judged is the exponential moving average of the loss, its start corrected as in Adam (Kingma and Ba 2015, arXiv
1412.6980, section 3). A run has diverged when that average is above ``factor`` times the lowest it has been, and
above the loss at the start as well: the loss at initialisation is the bound beyond which a run has learnt less
than nothing (Wortsman et al. 2023, arXiv 2309.14322, section 3). Learning-rate finders stop at 4 times the lowest
(Smith 2018, arXiv 1803.09820, as fastai and Lightning have it); a chat model begins near a loss of 3 and
cannot get far above ln(vocabulary) = 11, which 4 times would never notice, so 2 is the shipped value. A plateau is patience on
the same average (Prechelt 1998, "Early stopping - but when?").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

NOT_FINITE, DIVERGED, PLATEAU = "not finite", "diverged", "plateau"
SETTLED = 20  # steps before anything but a NaN is judged: single batches of replayed and of new conversations differ much
_BETA = 1 - 1 / SETTLED
_GAIN = 0.01  # of the lowest average: falling by less is standing still


@dataclass(frozen=True)
class Stop:
    """Training was ended early at ``step``; ``why`` is a clause for reports. After a failure nothing of the run is kept."""

    kind: str
    step: int
    why: str

    @property
    def failed(self) -> bool:
        """Whether the training failed; a plateau is no failure."""
        return self.kind != PLATEAU


@dataclass
class Watch:
    """``plateau_steps`` 0: a plateau ends nothing."""

    divergence_factor: float
    plateau_steps: int = 0
    _average: float = 0.0
    _seen: int = 0
    _early: list[float] = field(default_factory=list)
    _lowest: float = math.inf
    _gained: tuple[int, float] = (0, math.inf)  # the step of the last gain, and the average then

    def see(self, step: int, loss: float) -> Stop | None:
        """The losses in the order of the steps; a Stop at the first that ends the training."""
        if not math.isfinite(loss):
            return Stop(NOT_FINITE, step, f"the loss became {loss} at step {step}")
        self._seen += 1
        self._average = _BETA * self._average + (1 - _BETA) * loss
        average = self._average / (1 - _BETA**self._seen)
        if self._seen <= SETTLED:
            self._early.append(loss)
        if self._seen < SETTLED:
            return None
        self._lowest = min(self._lowest, average)
        start = sum(self._early) / len(self._early)
        if average > self.divergence_factor * self._lowest and average > start:
            return Stop(
                DIVERGED,
                step,
                f"the loss diverged: {average:.2f} on average at step {step}, after {self._lowest:.2f} at its lowest and {start:.2f} at the start",
            )
        if average < (1 - _GAIN) * self._gained[1]:
            self._gained = step, average
        if self.plateau_steps and step - self._gained[0] >= self.plateau_steps:
            return Stop(
                PLATEAU,
                step,
                f"the loss has not fallen by {_GAIN:.0%} in {self.plateau_steps} steps, at {average:.2f} on average",
            )
        return None
