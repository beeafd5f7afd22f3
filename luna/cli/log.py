"""The command `luna log`; the work is in history/lineage.py, the tree is forensics/lanes.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from luna.cli.common import Json, print_json, repository_root, say, settings_of, tell_doubts
from luna.cli.table import Column, show
from luna.errors import InputError
from luna.forensics import lanes
from luna.history.line import read_line
from luna.history.lineage import GenerationEntry, Lineage, Move, head_moves, lineage
from luna.scores import SCORES, shown

_SYMBOLS = {
    "HEAD": "★",
    "base": "◆",
    "promoted": "●",
    "denied": "✗",
    "rolled back": "○",
    "unknown": "?",
}
_STYLES = {
    "HEAD": "bold green",
    "base": "cyan",
    "promoted": "",
    "denied": "red",
    "rolled back": "yellow",
    "unknown": "bold magenta",
}


def command(
    graph: Annotated[
        bool,
        typer.Option(
            "--graph",
            help="Draw the line as a tree: who descends from whom, where a branch was denied or "
            "left behind by a rollback.",
        ),
    ] = False,
    head: Annotated[
        bool,
        typer.Option(
            "--head",
            help="The head's own history: who moved it, when, whereto and why, from the tags that "
            "record each move.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            help="Only the newest so many generations, or moves with --head.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Every generation with parent, scores and verdict, oldest first.

    ★ HEAD is the current best, ◆ base is generation 0, ● promoted is an ancestor of the current best,
    ✗ denied failed the rule and was kept, ○ rolled back was promoted, but a rollback moved the head to
    an earlier one. A file or a pipe gets every column; what is longer than the terminal is shown in your
    pager (PAGER=cat: never). Exit code 1 when a line of the ledger cannot be
    read or this clone does not know the whole line; then the list is made from the tags.
    """
    if graph and head:
        raise InputError("Give either --graph or --head: the head's history is a list, not a tree.")
    root = repository_root()
    line = read_line(root, settings_of(root).line.prefix)
    whole = tell_doubts(line)
    if head:
        _head(head_moves(line)[-(limit or 0) :], as_json, whole)
        return
    history = lineage(line)
    if as_json:
        print_json([entry.as_json() for entry in history.entries[-(limit or 0) :]])
    elif not history.entries and whole:
        typer.echo("No generation has been sealed yet: run 'luna evolve'.")
    else:
        _show(history, graph, limit or len(history.entries))
    for fault in history.faults:
        say(f"luna log: {fault}; values of the tags are shown instead")
    if history.faults or not whole:
        raise typer.Exit(1)


def _head(moves: list[Move], as_json: bool, whole: bool) -> None:
    if as_json:
        print_json([asdict(move) for move in moves])
        return
    if not moves and whole:
        typer.echo("The head has not been set yet: run 'luna evolve'.")
        return
    columns = [
        Column("move", 2, right=True),
        Column("when"),
        Column("generation"),
        Column("who", 1),
        Column("why"),
    ]
    show(
        columns,
        [[str(move.move), move.when or "?", move.generation, move.who, move.why] for move in moves],
        paged=True,
    )


def _show(history: Lineage, graph: bool, limit: int) -> None:
    columns = [
        Column("" if graph else "gen", drawn=graph),
        Column("parent", 2),
        Column("verdict"),
        Column("recall", 1, right=True),
        Column("general.", 3, right=True),
        Column("tone", 4, right=True),
        Column("ability", 4, right=True),
        Column("changed", 5, right=True),
        Column("steps", 7, right=True),
        Column("weights", 6),
        Column("born", 8),
    ]
    first = _tree(history) if graph else [entry.short for entry in history.entries]
    shown_rows = list(zip(first, history.entries, strict=True))[-limit:]
    show(
        columns,
        [[title, *_cells(entry)] for title, entry in shown_rows],
        [_STYLES[entry.state] for _, entry in shown_rows],
        paged=True,
    )


def _cells(entry: GenerationEntry) -> list[str]:
    row = entry.row
    values = (entry.scores[score.column] for score in SCORES)
    return [
        f"G{entry.parent:03d}" if isinstance(entry.parent, int) else entry.parent or "?",
        entry.state,
        *map(shown, values),
        f"{row.weight_change:g} %" if row else "?",
        str(row.steps) if row else "?",
        row.weights_sha256[:12] if row else "?",
        row.timestamp if row else "?",
    ]


def _tree(history: Lineage) -> list[str]:
    entries = history.entries
    layout = lanes.lay_out(
        {entry.gen: entry.parent if isinstance(entry.parent, int) else None for entry in entries},
        history.head_line,
        [entry.gen for entry in entries if entry.promoted],
    )
    drawn = lanes.as_text(layout, {entry.gen: _SYMBOLS[entry.state] for entry in entries})
    return [f"{cells}{entry.short}" for cells, entry in zip(drawn, entries, strict=True)]
