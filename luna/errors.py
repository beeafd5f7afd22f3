"""The errors of Luna: each is one plain sentence for the user with the next step in it."""

from __future__ import annotations

import errno
from pathlib import Path

from luna.text import escaped


class LunaError(Exception):
    """A mistake in a call or its input. The command prints the sentence and exits with ``exit_code``."""

    exit_code = 2

    def __str__(self) -> str:
        """The sentence, safe to print: names of files from outside may hold a terminal's commands."""
        return escaped(super().__str__(), keep="\n\t")


class Refused(LunaError):
    """A check or a rule said no: nothing is wrong with the call, the answer is no."""

    exit_code = 1


class InputError(LunaError):
    """A file, line or key of the user's is not what it must be."""


class UnknownGeneration(InputError):
    """There is no such generation among the tags; where the clone lacks tags, the command line says that instead."""


class StateError(LunaError):
    """The repository is not in a state in which the command may run."""


class Busy(StateError):
    """Another Luna command is at work in the repository. ``holder`` names it."""

    def __init__(self, holder: str) -> None:
        super().__init__(
            f"The repository is in use by {holder}: wait for it to end, then run the command again."
        )
        self.holder = holder


class BaseModelError(LunaError):
    """The base model is missing, unsafe to load, or not a causal chat model."""


class ExportError(LunaError):
    """The exported file does not say what base and adapters say."""


class ColdStorageError(LunaError):
    """Cold storage cannot be written, read, or does not hold what it should."""


def from_os_error(error: OSError) -> LunaError | None:
    """The sentence for an operating-system error that a user can act on, or None when it is ours."""
    where = error.filename2 or error.filename or Path.cwd()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LunaError(
            f"The disk is full at {where}: free some space, then run the same command again; nothing was sealed."
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return LunaError(
            f"{where} cannot be written: make it writable, then run the same command again."
        )
    return _in_the_way(error, Path(where))


def _in_the_way(error: OSError, where: Path) -> LunaError | None:
    """A folder in a file's place, or a file in a folder's; judged by what lies there now."""
    if error.errno == errno.EISDIR and where.is_dir():
        return LunaError(
            f"{where} is a folder, and a file belongs there: move it away, then run the same command again."
        )
    if error.errno == errno.ENOTDIR or (error.errno == errno.EEXIST and not error.filename2):
        file = next((path for path in (where, *where.parents) if path.is_file()), None)
        if file:
            return LunaError(
                f"{file} is a file, and a folder belongs there: move it away, then run the same command again."
            )
    return None
