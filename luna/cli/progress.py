"""Progress bars in bytes or pieces on a terminal, and silence elsewhere."""

from __future__ import annotations

import contextlib
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
