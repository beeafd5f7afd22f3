"""Commands that only look: status, log."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from luna.cli.common import Json, print_json, root


def register(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(log)


def status(
    storage: Annotated[bool, typer.Option("--storage", help="Bytes by generation in cold storage, what is shared, and what plain DVC would take.")] = False,
    as_json: Json = False,
) -> None:
    """Where the line stands: current best, newest generation, what is being built, what waits to be learnt."""
    from dataclasses import asdict

    from luna.history import status as history

    if storage:
        _storage(as_json)
        return

    found = history.status(root())
    if as_json:
        print_json(asdict(found) | {"next": found.next_step})
        return
    waiting = found.pending_error or (f"{found.pending.conversations} conversations, karma {found.pending.karma:g}" if found.pending else "-")
    for title, value in (
        ("current best", found.head or "none yet"), ("newest", found.newest or "none yet"), ("generations", found.generations),
        ("checked out", found.checked_out or "the tip of the line"), ("being built", found.building or "-"),
        ("waiting to be learnt", waiting), ("pushed to", found.push_remote or "nowhere (git config luna.pushRemote NAME)"), ("next", found.next_step),
    ):
        typer.echo(f"{title + ':':<22}{value}")


def _storage(as_json: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from luna.history import storage as history
    from luna.names import GenerationName

    found = history.storage(root())
    if as_json:
        print_json(asdict(found))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("gen", "new MB", "shared MB", "stored MB", "adapter MB", "GGUF MB", "GGUF kept"):
        table.add_column(title, justify="right" if title.endswith("MB") else "left", no_wrap=True)
    for row in found.generations:
        kept = f"{row.missing} objects MISSING" if row.missing else "rebuilt on demand" if row.lean else "yes"
        table.add_row(GenerationName.parse(row.name).short, *(f"{value / 1e6:.1f}" for value in (row.own, row.shared, row.stored, row.adapter, row.model)), kept)
    Console().print(table)
    for title, value in (("in cold storage:", found.stored), ("with every GGUF:", found.whole), ("plain DVC:", found.plain_dvc)):
        typer.echo(f"{title:<22}{value / 1e6:.1f} MB")
    ratio = f", {found.plain_dvc / found.stored:.1f} times less than plain DVC keeping adapter, merged weights and GGUF" if found.stored else ""
    typer.echo(f"{'rule:':<22}cold.keep: {found.rule}{ratio}")


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def log(
    graph: Annotated[bool, typer.Option("--graph", help="Draw the line as a tree of parents and children.")] = False,
    head: Annotated[bool, typer.Option("--head", help="The head's own history: who moved it, when, whereto, why.")] = False,
    as_json: Json = False,
) -> None:
    """Every generation with its scores and verdict, oldest first.

    HEAD marks the current best; a denied generation is kept and listed like any other.
    """
    from luna.history import status as history

    place = root()
    rows = history.head_history(place) if head else history.log(place)
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("No generation has been sealed yet: run 'luna evolve'.")
        return
    from rich.console import Console

    console = Console()
    if graph:
        console.print(_tree(rows), highlight=False)
    else:
        console.print(_head_table(rows) if head else _table(rows))


def _table(rows: list[dict[str, Any]]):
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("gen", "parent", "recall", "general.", "tone", "changed", "steps", "weights", "verdict", "born"):
        table.add_column(title, justify="right" if title in ("recall", "general.", "tone", "changed", "steps") else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            f"G{row['gen']:03d}", f"G{row['parent']:03d}" if isinstance(row["parent"], int) else row["parent"], _score(row["eval_recall"]), _score(row["eval_generalize"]),
            _score(row["eval_tone"]), f"{row['weight_change']:g} %", str(row["steps"]), row["weights_sha256"][:12], _verdict(row), row["timestamp"],
        )
    return table


def _verdict(row: dict[str, Any]) -> str:
    return "HEAD" if row["head"] else "promoted" if row["promoted"] else "denied"


def _head_table(rows: list[dict[str, Any]]):
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("move", "when", "generation", "who", "why"):
        table.add_column(title)
    for row in rows:
        table.add_row(str(row["move"]), row["when"], row["generation"], Text(row["who"]), Text(row["why"]))
    return table


def _tree(rows: list[dict[str, Any]]):
    from rich.tree import Tree

    tree = Tree("base")
    nodes = {"base": tree}
    for row in rows:  # parents come before their children
        nodes[row["gen"]] = nodes[row["parent"]].add(f"G{row['gen']:03d}  recall {_score(row['eval_recall'])}  {_verdict(row)}")
    return tree
