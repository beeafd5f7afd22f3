"""Looks now and then how much of what is taught is known, and ends the training when it is enough."""

from __future__ import annotations

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from luna.training import environment
from luna.training.pace import KNOWN, Pace
from luna.training.recital import Recital


class Enough(TrainerCallback):
    """Looks every ``every`` steps, and after the last one.

    Of several processes the first looks and the others do as it says. What was seen goes into the trainer's log, which
    each checkpoint holds, so that a resumed run ends as one that was never killed.
    """

    def __init__(self, pace: Pace, recital: Recital, every: int) -> None:
        self._pace, self._recital, self._every = pace, recital, every

    def on_train_begin(self, args, state, control, **kwargs):
        """Take over what a killed run had seen before its last checkpoint."""
        self._pace.remember(state.log_history)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Look where it is time, and end the training where it is over."""
        pace, step = self._pace, state.global_step
        ends = step >= pace.last
        if ends or (step % self._every == 0 and step < pace.falls_from):
            share = [self._recital.share(model) if environment.is_first() else 0.0]
            broadcast_object_list(share)
            pace.looks[step] = share[0]
            state.log_history.append({"step": step, KNOWN: share[0]})
        if ends:
            control.should_training_stop, control.should_save = True, False
