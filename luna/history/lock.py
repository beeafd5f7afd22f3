"""One Luna command at a time may change the repository."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from luna import artifacts
from luna.errors import StateError


@contextlib.contextmanager
def exclusive(root: Path, command: str) -> Iterator[None]:
    """Hold the repository's lock. The system frees it when the process dies, so no stale lock remains.

    Raises StateError, naming the holder, when another command runs.
    """
    from filelock import FileLock, Timeout

    place = root / artifacts.SCRATCH
    place.mkdir(exist_ok=True)
    holder = place / "command.holder"
    lock = FileLock(place / "command.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        who = holder.read_text(encoding="utf-8").strip() if holder.exists() else "another command"
        raise StateError(f"The repository is in use by {who}: wait for it to end, then run the command again.") from None
    try:
        holder.write_text(f"'luna {command}' (process {os.getpid()})", encoding="utf-8")
        yield
    finally:
        lock.release()
