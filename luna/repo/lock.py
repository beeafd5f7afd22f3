"""The lock that lets only one Luna command at a time change the repository."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts
from luna.errors import Busy
from luna.repo import interrupted

_NOTE = artifacts.SCRATCH / "command.holder"


@dataclass(frozen=True)
class Holder:
    """The command that holds the lock. ``since`` is in seconds since 1970."""

    command: str
    process: int
    since: float


_HOLDER = "'luna {}' (process {})"  # the hook post-checkout reads it as well
_HOLDER_FORM = re.compile(r"'luna (.+)' \(process (\d+)\)")


def holder(root: Path) -> Holder | None:
    """Who took the lock last and has not given it back; it may have been killed since."""
    path = root / _NOTE
    try:
        match = _HOLDER_FORM.fullmatch(path.read_text(encoding="utf-8").strip())
        return Holder(match[1], int(match[2]), path.stat().st_mtime) if match else None
    except OSError:
        return None


@contextlib.contextmanager
def exclusive(root: Path, command: str) -> Iterator[None]:
    """Hold the repository's lock. The system frees it when the process dies, so no stale lock of ours remains.

    git's locks are files that a killed git leaves behind: when the command before this one was killed
    (its holder's note is still there), those made since it began are removed first. So is what a killed DVC left.

    Raises Busy, naming the holder, when another command runs.
    """
    from filelock import FileLock, Timeout

    folder = root / artifacts.SCRATCH
    folder.mkdir(exist_ok=True)
    note = root / _NOTE
    lock = FileLock(folder / "command.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        who = note.read_text(encoding="utf-8").strip() if note.exists() else "another command"
        raise Busy(who) from None
    try:
        if note.exists():
            interrupted.clear_git(root, note.stat().st_mtime)
        interrupted.clear_dvc(root)
        note.write_text(_HOLDER.format(command, os.getpid()), encoding="utf-8")
        yield
        note.unlink(missing_ok=True)
    except Exception:
        note.unlink(missing_ok=True)  # it ended without a kill, and so did its git processes
        raise
    finally:
        lock.release()
