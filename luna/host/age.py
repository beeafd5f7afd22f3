"""`luna.age_up`: builds the next generation for a host application when enough karma waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from luna import artifacts, files
from luna.errors import LunaError, Refused
from luna.operations.evolve import evolve
from luna.operations.karma import Karma, karma
from luna.repo.git import Git

LOG = artifacts.SCRATCH / "age-up.log"
_RESULT = "age-up"  # the last event of 'luna age-up --json'
_SECONDS_TO_STOP = 20.0


@dataclass(frozen=True)
class AgeUp:
    """What became of an age-up.

    ``refused``: too little karma, nothing was started. ``promoted`` and ``denied``: ``generation`` was built and sealed, and
    the rule said so. ``busy``: nothing was started, because the command ``by`` is running in the repository.

    ``karma``, ``required`` and ``missing`` are as they were when it was decided; ``left`` is the karma collected
    afterwards, ``head`` the current best.
    """

    outcome: Literal["refused", "promoted", "denied", "busy"]
    karma: float
    required: float
    missing: float
    left: float
    head: str | None
    generation: str | None = None
    by: str | None = None


def age_up(
    root: Path | str = ".", on_event: Callable[[dict[str, Any]], None] | None = None
) -> AgeUp:
    """Build the next generation, if the conversations that wait are worth ``age_up.karma_required``.

    The call returns when all is sealed, which takes minutes or hours; in an asyncio service:
    ``await asyncio.to_thread(age_up, root)``. The work is done by a subprocess, which continues when the
    host dies; if it is killed too, the next call resumes.

    ``on_event`` is called, in the same thread, with each event of ``luna evolve --json`` (started, stage, sealed, retry,
    stopped). An exception that it raises ends the build and is raised by this call; the next call resumes.

    Raises:
        InputError: ``root`` is no repository, params.yaml or a conversation is not valid (it names file and line).
        LunaError: the build failed; the sentence says why and what to do, and nothing half done is visible.
    """
    repository = Git(Path(root)).root
    balance = karma(repository)
    if (
        balance.missing
    ):  # the subprocess asks again, under the lock: nobody can have spent it in between
        return refused(balance)
    return _in_subprocess(repository, balance, on_event or (lambda event: None))


def refused(balance: Karma) -> AgeUp:
    """The result where too little karma was collected."""
    return AgeUp(
        "refused",
        balance.collected,
        balance.required,
        balance.missing,
        balance.collected,
        balance.head,
    )


def busy(balance: Karma, by: str) -> AgeUp:
    """The result where another command is at work."""
    return AgeUp(
        "busy",
        balance.collected,
        balance.required,
        balance.missing,
        balance.collected,
        balance.head,
        by=by,
    )


def grow(
    root: Path, say: Callable[[str], None], event: Callable[[dict[str, Any]], None], quiet: bool
) -> AgeUp:
    """Decide and build in this process; the caller holds the repository's lock."""
    balance = karma(root)
    if balance.missing:
        return refused(balance)
    last = evolve(root, 1, say, event, quiet=quiet).built[-1]
    return AgeUp(
        "promoted" if last.promoted else "denied",
        balance.collected,
        balance.required,
        0.0,
        karma(root).collected,
        last.head,
        last.name,
    )


def result_event(done: AgeUp) -> dict[str, Any]:
    """The result as the last event of 'luna age-up --json'."""
    return {"event": _RESULT, **vars(done)}


def _in_subprocess(root: Path, balance: Karma, on_event: Callable[[dict[str, Any]], None]) -> AgeUp:
    last: dict[str, Any] = {}
    (root / artifacts.SCRATCH).mkdir(exist_ok=True)
    with (
        tempfile.TemporaryFile(dir=root / artifacts.SCRATCH) as output,
        subprocess.Popen(
            [sys.executable, "-m", "luna", "age-up", "--json"],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            encoding="utf-8",
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                last = json.loads(line)
                last.pop("version", None)  # of the JSON, which this code writes and reads itself
                if last["event"] not in (_RESULT, "failed"):
                    on_event(last)
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
        if last.get("event") == _RESULT:
            return AgeUp(**{key: value for key, value in last.items() if key != "event"})
        raise _failure(root, last, code, output)


def _failure(root: Path, last: dict[str, Any], code: int, output: IO[bytes]) -> LunaError:
    if last.get("event") == "failed":
        return (Refused if last["exit_code"] == Refused.exit_code else LunaError)(last["message"])
    output.seek(0)
    files.write_text(root / LOG, output.read().decode("utf-8", "replace"))
    return LunaError(
        f"The build stopped early (exit code {code}): see {LOG}, then call again; it resumes from there."
    )


def _stop(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C does: the command ends its pipeline, too."""
    process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
