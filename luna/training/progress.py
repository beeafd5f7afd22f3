"""Loss, speed and time left while training: a bar, plain lines or a curve on disk."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from dvclive import Live
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback

from luna import stage
from luna.training import resources
from luna.training.pace import Pace
from luna.training.watch import Stop, Watch

_SECONDS_BETWEEN_LINES = 10
_SECONDS_BETWEEN_LOOKS = 1
_ELAPSED = "elapsed"  # of a row of the trainer's log: seconds of training up to it, in all runs
_POINTS = 200  # of the curve for 'luna status --json': as many as a small picture shows


class ShowProgress(TrainerCallback):
    """Also keeps the loss of each step in ``losses``, and ends the training where ``watch`` says so: then ``stopped`` says why.

    ``pace``: of a training that ends by itself. Of several processes each sees the same losses and decides the same; only a ``visible`` one shows and writes.
    """

    def __init__(
        self, curve: Path, watch: Watch, pace: Pace | None = None, visible: bool = True
    ) -> None:
        self.losses: dict[int, float] = {}
        self.stopped: Stop | None = None
        self._watch, self._pace = watch, pace
        self._curve = curve
        self._live = (
            Live(str(curve), save_dvc_exp=False, dvcyaml=None, report=None) if visible else None
        )
        self._console = Console(quiet=not visible)
        self._bar: Progress | None = None
        self._began = self._started = self._last = self._looked = time.monotonic()
        self._first, self._first_step = True, 0
        self._memory: float | None = None
        self.before = (
            0.0  # seconds of earlier runs, up to the checkpoint from which this one goes on
        )

    def _note(self, step: int, loss: float) -> None:
        self.stopped = self.stopped or self._watch.see(step, loss)
        if not math.isfinite(loss):
            return
        self.losses[step] = loss
        if self._live:
            self._live.step = step
            self._live.log_metric("train/loss", loss)

    def _final(self, state) -> int:
        """The last step, as far as is known by now."""
        return self._pace.last if self._pace else state.max_steps

    def _words(self, state) -> str:
        return f"{self._final(state)}{' at most' if self._open else ''}"

    @property
    def _open(self) -> bool:
        """Whether it may end earlier than is known by now."""
        return self._pace is not None and self._pace.known_at is None

    def _known(self) -> str:
        """How much was known at the last look, in a word."""
        looks = self._pace.looks if self._pace else {}
        return f"{looks[max(looks)]:.0%}" if looks else "-"

    def _look(self, step: int) -> None:
        self._looked = time.monotonic()
        if not self._live:
            return
        self._live.step = step
        values = resources.look(self._curve)
        self._memory = round(values["memory"], 2)
        for name, value in values.items():
            self._live.log_metric(f"resources/{name}", round(value, 3))

    def _tell(self, state, loss: float, left: float) -> None:
        """Leave how far it is for 'luna status', which may read at any moment: the file is whole or not there."""
        if not self._live:
            return
        looks = self._pace.looks if self._pace else {}
        points = list(self.losses.items())
        every = max(1, -(-len(points) // _POINTS))
        now = {
            "step": state.global_step,
            "last": self._final(state),
            "may_end_sooner": self._open,
            "loss": loss if math.isfinite(loss) else None,
            "known": looks[max(looks)] if looks else None,
            "seconds_left": round(left, 1),
            "memory_gb": self._memory,
            "curve": points[::every] + (points[-1:] if (len(points) - 1) % every else []),
        }
        # No wait for the disk: after a power cut no training runs.
        stage.TRAINING.parent.mkdir(exist_ok=True)
        temporary = stage.TRAINING.with_suffix(".tmp")
        temporary.write_text(json.dumps(now), encoding="utf-8")
        temporary.replace(stage.TRAINING)

    def on_train_begin(self, args, state, control, **kwargs):
        """Start the bar, and show what an earlier run logged."""
        for row in state.log_history:  # what a killed run had logged before its last checkpoint
            if "loss" in row:
                self._note(row["step"], row["loss"])
                self.before = row.get(_ELAPSED, self.before)
        self._began = self._started = self._last = time.monotonic()
        self._first_step = state.global_step
        self._look(state.global_step)
        if state.global_step:
            self._console.print(
                f"train: resuming at step {state.global_step} of {self._words(state)}"
            )
        if self._live and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("train"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}"),
                *([TextColumn("known {task.fields[known]}")] if self._pace else []),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                "train",
                total=self._final(state),
                completed=state.global_step,
                loss="-",
                known=self._known(),
            )

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Note a loss, look at the rules, and move the bar."""
        if not logs or "loss" not in logs:
            return
        loss = logs["loss"]
        self._note(state.global_step, loss)
        if self.stopped:
            control.should_training_stop, control.should_save = True, False
        now = time.monotonic()
        state.log_history[-1][_ELAPSED] = round(self.before + now - self._began, 2)
        made = state.global_step - self._first_step
        left = (now - self._started) / max(1, made) * (self._final(state) - state.global_step)
        first, self._first = self._first, False
        if first:  # on CUDA it is compiled before, and says nothing of the others
            self._started, self._first_step = now, state.global_step
        looks = now - self._looked >= _SECONDS_BETWEEN_LOOKS
        if looks or state.global_step == self._final(state):
            self._look(state.global_step)
        if looks or first or state.global_step == self._final(state):
            self._tell(state, loss, left)
        if self._bar:
            self._bar.update(
                self._task,
                total=self._final(state),
                completed=state.global_step,
                loss=f"{loss:.3f}",
                known=self._known(),
            )
        elif (
            now - self._last >= _SECONDS_BETWEEN_LINES
            or self.stopped
            or first
            or state.global_step == self._final(state)
        ):
            self._last = now
            known = f"  known {self._known()}" if self._pace else ""
            most = "at most " if self._open else ""
            self._console.print(
                f"train: step {state.global_step}/{self._words(state)}  loss {loss:.3f}{known}  {most}{left:.0f} s left",
                highlight=False,
            )

    def on_train_end(self, args, state, control, **kwargs):
        """End the bar and the log."""
        if self._live:
            self._live.make_summary()
        if self._bar:
            self._bar.stop()
