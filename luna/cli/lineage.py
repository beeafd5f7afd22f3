"""Commands that show the line: log, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luna.cli.common import Json, line_of, print_json, root, say
from luna.errors import InputError

if TYPE_CHECKING:
    from luna.history.lineage import Entry, Lineage, Move

SYMBOLS = {
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


def register(app: typer.Typer) -> None:
    app.command()(log)
    app.command()(report)


def log(
    graph: Annotated[
        bool,
        typer.Option(
            "--graph",
            help="Draw the line as a tree: who descends from whom, where a branch was denied or left behind by a rollback.",
        ),
    ] = False,
    head: Annotated[
        bool,
        typer.Option(
            "--head",
            help="The head's own history: who moved it, when, whereto and why, from the tags that record each move.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Every generation with its parent, scores and verdict, oldest first.

    ★ HEAD is the current best, ◆ base the ancestor, ● promoted an ancestor of the current best; ✗ denied was kept but
    failed the rule, ○ rolled back was promoted until the head went back behind it. Into a file or a pipe whole values are
    written, whatever the width. Exit code 1 when a line of the ledger cannot be read; what the tags say is shown all the same.
    """
    from luna.history.lineage import head_moves, lineage

    if graph and head:
        raise InputError("Give either --graph or --head: the head's history is a list, not a tree.")
    place = root()
    line = line_of(place)
    if head:
        moves = head_moves(line)
        if as_json:
            from dataclasses import asdict

            print_json([asdict(move) for move in moves])
        elif moves:
            _show_moves(moves)
        else:
            typer.echo("The head has not been set yet: run 'luna evolve'.")
        return
    found = lineage(line)
    if as_json:
        print_json([entry.as_json() for entry in found.entries])
    elif not found.entries:
        typer.echo("No generation has been sealed yet: run 'luna evolve'.")
    else:
        _show(found, graph)
    for fault in found.faults:
        say(f"luna log: {fault}: what the tags say is shown in its place")
    if found.faults:
        raise typer.Exit(1)


def score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _parent(entry: Entry) -> str:
    return f"G{entry.parent:03d}" if isinstance(entry.parent, int) else entry.parent or "?"


def _show(found: Lineage, graph: bool) -> None:
    from luna.cli.table import Column, show

    columns = [
        Column("" if graph else "gen", drawn=graph),
        Column("parent", 2),
        Column("verdict"),
        Column("recall", 1, right=True),
        Column("general.", 3, right=True),
        Column("tone", 4, right=True),
        Column("changed", 5, right=True),
        Column("steps", 7, right=True),
        Column("weights", 6),
        Column("born", 8),
    ]
    tree = _tree(found) if graph else [entry.short for entry in found.entries]
    rows = []
    for first, entry in zip(tree, found.entries, strict=True):
        row = entry.row
        rows.append(
            [
                first,
                _parent(entry),
                entry.state,
                *(
                    score(entry.scores[key])
                    for key in ("eval_recall", "eval_generalize", "eval_tone")
                ),
                *(
                    (
                        f"{row.weight_change:g} %",
                        str(row.steps),
                        row.weights_sha256[:12],
                        row.timestamp,
                    )
                    if row
                    else ("?", "?", "?", "?")
                ),
            ]
        )
    show(columns, rows, [_STYLES[entry.state] for entry in found.entries])


def _tree(found: Lineage) -> list[str]:
    from luna.forensics.lanes import as_text, lay_out

    places = lay_out(
        {
            entry.gen: entry.parent if isinstance(entry.parent, int) else None
            for entry in found.entries
        },
        found.head_line,
        [entry.gen for entry in found.entries if entry.promoted],
    )
    drawn = as_text(places, {entry.gen: SYMBOLS[entry.state] for entry in found.entries})
    return [f"{cells}{entry.short}" for cells, entry in zip(drawn, found.entries, strict=True)]


def _show_moves(moves: list[Move]) -> None:
    from luna.cli.table import Column, show

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
    )


def report(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file to write; one that is there is replaced."),
    ] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """The whole line on one HTML page: lineage, cards, scores against the rule, forgetting, weights, cost, the head's history.

    The page is one file that opens offline in any browser and loads nothing. What cannot be read at a tag is marked on it.
    """
    from luna import files
    from luna.forensics.report import collect, page

    place = root()
    line = line_of(place)
    if not line.sealed:
        raise InputError(
            "No generation has been sealed yet, so there is nothing to report: run 'luna evolve'."
        )
    if output.is_dir():
        raise InputError(
            f"{output} is a folder: give the path of a file, for example -o {output / 'report.html'}."
        )
    if not output.absolute().parent.is_dir():
        raise InputError(
            f"There is no folder {output.parent}: make it, or give another path with -o."
        )
    data = collect.collect(line)
    files.write_text(output, page.render(data))
    marked = sum(bool(item["marks"]) for item in data["generations"])
    if as_json:
        print_json(
            {
                "path": str(output),
                "bytes": output.stat().st_size,
                "generations": len(data["generations"]),
                "marked": marked,
            }
        )
        return
    typer.echo(
        f"{output}: {len(data['generations'])} generations, {output.stat().st_size / 1e6:.1f} MB. Open it in any browser."
    )
    if marked:
        say(
            f"luna report: {marked} of the generations have something that cannot be read; the page marks it."
        )
