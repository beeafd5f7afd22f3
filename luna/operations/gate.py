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
    """Hold the lock for a command that adds to history or deletes bytes that history needs.

    ``despite``: kinds of doubt that this command resolves.

    Raises:
        Busy: another command runs.
        StateError: this clone's tags are not the whole line; nothing was changed.
    """
    with exclusive(root, command):
        known.require(read_line(root, standing(root).line.prefix), despite)
        yield
