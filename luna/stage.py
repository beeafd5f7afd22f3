"""What every stage runs in: one at a time, errors as one sentence, ended with the pipeline."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from luna import artifacts, ending, files, start
from luna.errors import LunaError, StateError, from_os_error

FAILURE = artifacts.SCRATCH / "failure.json"
RUNNING = artifacts.SCRATCH / "stage.json"
TRAINING = artifacts.SCRATCH / "training.json"  # how far the training is, see training/progress.py
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_CLEAN_UP = 10.0


@dataclass(frozen=True)
class Note:
    """Which stage runs, left in ``RUNNING`` for 'luna status'. ``since`` is in seconds since 1970."""

    name: str
    process: int
    since: float


def run(name: str, main: Callable[[], None]) -> None:
    """Run a stage's ``main``; exits with the error's code after printing its sentence.

    The sentence is also left in ``.luna/failure.json``, for the command that started the pipeline.
    """
    from filelock import FileLock, Timeout

    start.prepare()
    ending.on_sigterm(name)
    artifacts.SCRATCH.mkdir(exist_ok=True)
    FAILURE.unlink(missing_ok=True)
    _end_with_pipeline()
    try:
        try:
            with FileLock(artifacts.SCRATCH / "stage.lock", timeout=0):
                _keep_what_is_built()
                files.write_json(RUNNING, asdict(Note(name, os.getpid(), time.time())))
                try:
                    main()
                finally:
                    RUNNING.unlink(missing_ok=True)
        except Timeout:
            raise StateError(
                "Another stage is still running in this folder: wait for it, or end it, then run the same command again."
            ) from None
        except OSError as error:
            raise from_os_error(error) or error from error
    except LunaError as error:
        print(f"{name}: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):  # the disk is full: the sentence has been printed
            files.write_json(
                FAILURE, {"stage": name, "message": str(error), "exit_code": error.exit_code}
            )
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(f"{name}: stopped; run the same command again to resume", file=sys.stderr)
        sys.exit(130)


def failure(root: Path) -> str | None:
    """What the stage that ran last said when it failed; None where it did not fail, or was ended from outside."""
    try:
        note = files.read_json(root / FAILURE)
        return f"{note['stage']}: {note['message']}"
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _keep_what_is_built() -> None:
    """What says which generation is built, and from what: a checkout by force would replace it.

    DVC has just read dvc.lock, and writes it again, in its place, only when the stage has ended.
    """
    for path in (artifacts.PARAMS, artifacts.BUILD, artifacts.LOCK):
        if path.exists():
            kept = artifacts.AT_START / path
            kept.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(kept) as temporary:
                shutil.copyfile(path, temporary)


def _end_with_pipeline() -> None:
    """End this stage when its 'dvc repro' was killed; otherwise it would write into the next run's files."""
    import psutil

    parents = [
        parent
        for parent in psutil.Process().parents()
        if any("dvc" in Path(part).name for part in parent.cmdline()[:4])
    ]
    if not parents:
        return  # started by hand

    def watch() -> None:
        while parents[0].is_running() and parents[0].status() != psutil.STATUS_ZOMBIE:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_SECONDS_TO_CLEAN_UP)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
