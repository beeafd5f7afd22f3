"""The lock that lets only one Luna command at a time change the repository."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from luna import artifacts
from luna.errors import Busy
from luna.repo import interrupted


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
    holder = folder / "command.holder"
    lock = FileLock(folder / "command.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        who = holder.read_text(encoding="utf-8").strip() if holder.exists() else "another command"
        raise Busy(who) from None
    try:
        if holder.exists():
            interrupted.clear_git(root, holder.stat().st_mtime)
        interrupted.clear_dvc(root)
        holder.write_text(f"'luna {command}' (process {os.getpid()})", encoding="utf-8")
        yield
        holder.unlink(missing_ok=True)
    except Exception:
        holder.unlink(missing_ok=True)  # it ended without a kill, and so did its git processes
        raise
    finally:
        lock.release()
