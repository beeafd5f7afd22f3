"""Which build is at work in this folder right now: its stage, its process and since when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from luna import artifacts, stage
from luna.errors import StateError
from luna.repo import lock

_TOLERANCE = (
    2.0  # seconds: a note's second is a whole one, and clocks of the kernel and of Python differ
)
_TAIL = 4096  # bytes: more than the last row of a loss curve


@dataclass(frozen=True)
class Running:
    """``stage`` is None between two stages, or while the build is sealed; then ``command`` is known. ``step`` of a training."""

    stage: str | None
    command: str | None
    process: int
    since: str
    step: int | None

    @property
    def sentence(self) -> str:
        """What runs, since when."""
        step = f", at step {self.step}" if self.step else ""
        what = f"the stage {self.stage}" if self.stage else f"luna {self.command}"
        return f"{what} since {self.since}{step} (process {self.process})"


def running(root: Path) -> Running | None:
    """None where nothing is at work. What a killed process left behind counts as nothing."""
    holder = lock.holder(root)
    command = holder.command if holder and _alive(holder.process, holder.since) else None
    note = _note(root / stage.RUNNING)
    if note and _alive(note.process, note.since):
        since = _written(note.since)
        step = _step(root, note.since) if note.name == "train" else None
        return Running(note.name, command, note.process, since, step)
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


def _step(root: Path, since: float) -> int | None:
    """The last row of the loss curve that this training writes: time, step, loss."""
    path = root / artifacts.LOSS_CURVE
    try:
        if path.stat().st_mtime < since:
            return None  # an earlier training's
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return int(file.read().splitlines()[-1].split(b"\t")[1])
    except (OSError, ValueError, IndexError):
        return None
