"""Removes lock files of a killed git or DVC that would block the next command."""

from __future__ import annotations

import json
from pathlib import Path

from luna import artifacts, files
from luna.repo import quarantine
from luna.repo.git import Git

_CLOCK_SECONDS = (
    5  # the system knows when it was started, and so when a process was, to a second or so
)


def clear_git(root: Path, began: float) -> None:
    """Remove git's lock files that are younger than the killed command, unless some git still works here."""
    import psutil

    folder = root / ".git"
    if not folder.is_dir():  # a linked worktree shares its folder with others
        return
    left = [
        path
        for path in (*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock"))
        if path.stat().st_mtime >= began
    ]
    if not left:
        return
    for process in psutil.process_iter(["name"]):
        try:
            if (process.info["name"] or "").startswith("git") and Path(
                process.cwd()
            ).is_relative_to(root):
                return
        except (psutil.Error, OSError):
            continue
    for path in left:
        path.unlink(missing_ok=True)


def clear_dvc(root: Path) -> None:
    """Remove DVC's list of the processes that read and write files when none of them runs any more.

    DVC takes any process with a listed number for the listed one: also a killed one that is not yet reaped,
    or a later one with the same number (soon in a container after a restart). A list that a kill left incomplete stops DVC too.
    """
    path = root / ".dvc/tmp/rwlock"
    if not path.exists() or _holders(path) == set():  # as DVC leaves it when it ends by itself
        return
    from zc.lockfile import LockError, LockFile  # by which DVC takes turns at the list

    try:
        turn = LockFile(f"{path}.lock")
    except LockError:
        return
    try:
        if not _is_in_use(path):
            path.unlink(missing_ok=True)
    finally:
        turn.close()


def _holders(listing: Path) -> set[int] | None:
    """The processes that it names; None where it cannot be understood."""
    try:
        listed = json.loads(listing.read_text(encoding="utf-8"))
        return {
            info["pid"]
            for info in [
                *listed["write"].values(),
                *(info for infos in listed["read"].values() for info in infos),
            ]
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _is_in_use(listing: Path) -> bool:
    """Whether a process that it names still works; a list that names none does no harm."""
    import psutil

    written, holders = listing.stat().st_mtime, _holders(listing)

    def works(pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and process.create_time() <= written + _CLOCK_SECONDS
            )
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    return holders == set() or any(works(pid) for pid in holders or ())


def mend_lockfile(root: Path) -> None:
    """For the start of the pipeline. DVC overwrites dvc.lock directly, and stops at one that a kill left incomplete.

    It is replaced by its copy from when the last stage began, so that at most that stage runs again, else by git's.
    """
    path, kept = root / artifacts.LOCK, root / artifacts.LOCK_AT_START
    if is_whole_lockfile(path):
        return
    sealed = Git(root).show("HEAD", artifacts.LOCK)
    whole = kept.read_bytes() if kept.exists() else sealed
    if whole is None:
        quarantine.aside(root, path, artifacts.LOCK.name)
        return
    quarantine.copy(root, path, artifacts.LOCK.name)
    with files.replacing(
        path
    ) as temporary:  # killed here too, the cut one or the whole one is there
        temporary.write_bytes(whole)


def is_whole_lockfile(path: Path) -> bool:
    """As far as that can be seen: most cuts end within a line. One that is not there is not cut."""
    return not path.exists() or _is_lockfile(path.read_bytes())


def _is_lockfile(text: bytes) -> bool:
    import yaml
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, Invalid):
        return False
    return text.endswith(b"\n")
