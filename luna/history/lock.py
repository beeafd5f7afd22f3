"""One Luna command at a time may change the repository."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from luna import artifacts
from luna.errors import Busy

_CLOCK_SECONDS = 5  # the system knows when it was started, and so when a process was, to a second or so

@contextlib.contextmanager
def exclusive(root: Path, command: str) -> Iterator[None]:
    """Hold the repository's lock. The system frees it when the process dies, so no stale lock of ours remains.

    git's locks are files that a killed git leaves behind: when the command before this one was killed
    (its holder's note is still there), those made since it began are taken away first.

    Raises Busy, naming the holder, when another command runs.
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
        raise Busy(who) from None
    try:
        if holder.exists():
            _clear_after_kill(root, holder.stat().st_mtime)
        holder.write_text(f"'luna {command}' (process {os.getpid()})", encoding="utf-8")
        yield
        holder.unlink(missing_ok=True)
    except Exception:
        holder.unlink(missing_ok=True)  # it ended by itself, and so did its gits
        raise
    finally:
        lock.release()


def _clear_after_kill(root: Path, began: float) -> None:
    """Remove git's lock files that are younger than the killed command, unless some git still works here."""
    import psutil

    folder = root / ".git"
    if not folder.is_dir():  # a linked worktree shares its folder with others
        return
    left = [path for path in (*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock")) if path.stat().st_mtime >= began]
    if not left:
        return
    for process in psutil.process_iter(["name"]):
        try:
            if (process.info["name"] or "").startswith("git") and Path(process.cwd()).is_relative_to(root):
                return
        except (psutil.Error, OSError):
            continue
    for path in left:
        path.unlink(missing_ok=True)


def release_dead(root: Path) -> None:
    """Remove DVC's list of who reads and writes which file when nobody on it works any more.

    DVC takes whoever has a listed process's number for the process: one that was killed and that nobody has
    waited for, or another that has the number since (in a container, after a restart, soon). A list that a kill cut short stops it too.
    """
    import json

    import psutil

    place = root / ".dvc/tmp/rwlock"
    try:
        written = place.stat().st_mtime
        listed = json.loads(place.read_text(encoding="utf-8"))
        holders = {info["pid"] for info in [*listed["write"].values(), *(info for infos in listed["read"].values() for info in infos)]}
    except FileNotFoundError:
        return
    except (ValueError, LookupError, TypeError, AttributeError):
        holders = set()

    def works(pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= written + _CLOCK_SECONDS
        except psutil.NoSuchProcess:
            return False

    if not any(works(pid) for pid in holders):
        place.unlink(missing_ok=True)
