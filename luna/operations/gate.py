"""The gate of every command that writes: the repository's lock, and a complete history."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from luna.history import known
from luna.history.known import Kind
from luna.history.line import read_line
from luna.repo.lock import exclusive
from luna.repo.settings import standing


@contextlib.contextmanager
def changing(root: Path, command: str, despite: frozenset[Kind] = frozenset()) -> Iterator[None]:
    """Hold the lock for a command that adds to history or lets go of bytes that history needs.

    ``despite``: doubts that this command is the remedy of.

    Raises:
        Busy: another command runs.
        StateError: something is known of the line that this clone's tags do not say; nothing was changed.
    """
    with exclusive(root, command):
        known.require(read_line(root, standing(root).line.prefix), despite)
        yield
