"""A table for a terminal or a file; a narrow terminal gets fewer columns, never cut values."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

#: Control and direction-changing characters, by which a text from a tag or a conversation could rewrite the screen.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ASCII = str.maketrans("│├╰╮┬┼─◆●★✗○…·", "||`.+|-#o*xO.-")
_GAP = 2


@dataclass(frozen=True)
class Column:
    """``rank`` 0 always stays; of the others the highest goes first where the terminal is narrow."""

    title: str
    rank: int = 0
    right: bool = False
    drawn: bool = False  # our own drawing, whose spaces count


def printable(text: str) -> str:
    """The text on one line, with nothing in it that could move the cursor or change a colour."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def show(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    styles: Sequence[str] | None = None,
    paged: bool = False,
) -> None:
    """Print the table; ``styles`` colours each row on a terminal (a rich style).

    ``paged``: a table longer than the terminal is shown in the person's pager.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    console = Console()
    cells = [
        [
            cell if column.drawn else printable(cell)
            for column, cell in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    widths = [
        max([cell_len(column.title), *(cell_len(row[index]) for row in cells)])
        for index, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    if console.is_terminal:
        while sum(widths[index] + _GAP for index in kept) - _GAP > console.width and any(
            columns[index].rank for index in kept
        ):
            kept.remove(max(kept, key=lambda index: columns[index].rank))

    def line(values: Sequence[str]) -> str:
        parts = []
        for index in kept:
            space = " " * (widths[index] - cell_len(values[index]))
            parts.append(space + values[index] if columns[index].right else values[index] + space)
        return (" " * _GAP).join(parts).rstrip()

    text = Text()
    text.append(
        line([column.title for column in columns]) + "\n", "bold" if console.is_terminal else None
    )
    for index, row in enumerate(cells):
        text.append(line(row) + "\n", styles[index] if styles and console.is_terminal else None)
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        text = Text(
            text.plain.translate(_ASCII)
            .encode(sys.stdout.encoding or "ascii", "replace")
            .decode(sys.stdout.encoding or "ascii")
        )
    if paged and console.is_terminal and len(rows) + 1 >= console.height:
        with console.capture() as captured:
            console.print(text, end="", soft_wrap=True, highlight=False)
        if _in_pager(captured.get()):
            return
    console.print(text, end="", soft_wrap=True, highlight=False)


def _in_pager(text: str) -> bool:
    """Show the text as git shows its own: in $PAGER, or in less with the end in sight. Returns whether there is a pager."""
    wanted = os.environ.get("PAGER")
    command = shlex.split("less -RX +G" if wanted is None else wanted)
    if os.environ.get("TERM", "dumb") == "dumb" or not command or not shutil.which(command[0]):
        return False
    environment = {"LESS": "-RX"} | os.environ
    try:
        pager = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, encoding="utf-8")
    except OSError:
        return False
    with contextlib.suppress(OSError, KeyboardInterrupt):  # it was left before the end
        pager.communicate(text)
    pager.wait()
    return True
