"""Progress in bytes: bars on a terminal, JSON lines for a program, and silence elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextlib.contextmanager
def in_bytes(title: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Give a function that is called with the bytes done so far, and the bytes in all."""
    with _bar(title, quiet) as (bar, task):
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def in_pieces(title: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Give a function that is called with the bytes of one more piece, and the bytes in all."""
    with _bar(title, quiet) as (bar, task):
        yield lambda piece, total: bar.update(task, advance=piece, total=total)


_SECONDS_BETWEEN_LINES = 0.5


@contextlib.contextmanager
def in_lines() -> Iterator[Callable[[int, int], None]]:
    """As ``in_pieces``, for a program: now and then, and at the end, a line of JSON on standard error."""
    done, known, last = 0, 0, time.monotonic()

    def tell() -> None:
        line = json.dumps({"event": "progress", "bytes": done, "total": known})
        print(line, file=sys.stderr, flush=True)

    def tick(piece: int, total: int) -> None:
        nonlocal done, known, last
        done, known = done + piece, total
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            tell()

    yield tick
    tell()


@contextlib.contextmanager
def _bar(title: str, quiet: bool) -> Iterator[tuple[Progress, TaskID]]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    silent = quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=silent, transient=True) as bar:
        yield bar, bar.add_task(title, total=None)
