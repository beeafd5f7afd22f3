"""Which build is at work in this folder right now: its stage, its process and since when."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from luna import stage
from luna.errors import StateError
from luna.repo import lock

_TOLERANCE = (
    2.0  # seconds: a note's second is a whole one, and clocks of the kernel and of Python differ
)


@dataclass(frozen=True)
class Training:
    """How far a training is. ``last`` is its last step as far as is known, ``known`` the share of what is taught that it would answer (None: not asked).

    ``curve``: step and loss, of a long training not each; ``memory_gb``: what its process holds.
    """

    step: int
    last: int
    may_end_sooner: bool
    loss: float | None
    known: float | None
    seconds_left: float
    memory_gb: float | None = None
    curve: tuple[tuple[int, float], ...] = ()

    @property
    def sentence(self) -> str:
        """Step, and how long it may take yet."""
        minutes = math.ceil(self.seconds_left / 60)
        most = " at most" if self.may_end_sooner else ""
        return f"step {self.step} of {self.last}, {minutes} min left{most}"


@dataclass(frozen=True)
class Running:
    """``stage`` is None between two stages, or while the build is sealed; then ``command`` is known. ``step`` and ``training`` while that runs."""

    stage: str | None
    command: str | None
    process: int
    since: str
    step: int | None
    training: Training | None = None

    @property
    def sentence(self) -> str:
        """What runs, since when."""
        step = f", at {self.training.sentence}" if self.training else ""
        what = f"the stage {self.stage}" if self.stage else f"luna {self.command}"
        return f"{what} since {self.since}{step} (process {self.process})"


def running(root: Path) -> Running | None:
    """None where nothing is at work. What a killed process left behind counts as nothing."""
    holder = lock.holder(root)
    command = holder.command if holder and _alive(holder.process, holder.since) else None
    note = _note(root / stage.RUNNING)
    if note and _alive(note.process, note.since):
        since = _written(note.since)
        training = _training(root, note.since) if note.name == "train" else None
        step = training.step if training else None
        return Running(note.name, command, note.process, since, step, training)
    if holder and command:
        return Running(None, command, holder.process, _written(holder.since), None)
    return None


def require_no_stage(root: Path) -> None:
    """Raises StateError where a stage is at work, such as one whose 'luna evolve' was killed and which goes on without it."""
    at = running(root)
    if at and at.stage:
        raise StateError(
            f"In this folder still runs {at.sentence}: wait for it to end ('luna status'), or end it with "
            f"'kill {at.process}', then run the same command again; nothing was started."
        )


def _note(path: Path) -> stage.Note | None:
    try:
        return stage.Note(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, or half of one
        return None


def _alive(process: int, since: float) -> bool:
    """Whether the process that wrote a note at ``since`` lives; another may have got its number."""
    import psutil  # not needed where there is no note

    try:
        return psutil.Process(process).create_time() <= since + _TOLERANCE
    except psutil.Error:
        return False


def _written(since: float) -> str:
    return datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _training(root: Path, since: float) -> Training | None:
    """What the training wrote last; None before its first step, and of an earlier training."""
    path = root / stage.TRAINING
    try:
        if path.stat().st_mtime < since:
            return None
        return Training(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
