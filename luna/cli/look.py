"""Commands that only look: status."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import Json, print_json, printable, root


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(
    storage: Annotated[
        bool,
        typer.Option(
            "--storage",
            help="Bytes by generation in cold storage, what is shared, and what plain DVC would take.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Where the line stands: current best, newest generation, what is being built, what waits to be learnt."""
    from dataclasses import asdict

    from luna.operations import status as history

    if storage:
        _storage(as_json)
        return

    found = history.status(root())
    if as_json:
        print_json(asdict(found) | {"next": found.next_step})
        return
    waiting = found.pending_error or (
        f"{found.pending.conversations} conversations{_coming(found.pending)}"
        if found.pending
        else "-"
    )
    missing = max(0.0, found.karma_required - found.pending.karma) if found.pending else None
    karma = (
        "-"
        if missing is None
        else f"{found.pending.karma:g} of {found.karma_required:g}, {f'{missing:g} missing' if missing else 'enough for luna age-up'}"
    )
    for title, value in (
        ("current best", found.head or "none yet"),
        ("newest", found.newest or "none yet"),
        ("generations", found.generations),
        ("checked out", found.checked_out or "the tip of the line"),
        ("being built", found.building or "-"),
        ("waiting to be learnt", waiting),
        ("karma", karma),
        ("pushed to", found.push_remote or "nowhere (git config luna.pushRemote NAME)"),
        ("next", found.next_step),
    ):
        typer.echo(f"{title + ':':<22}{printable(str(value))}")
    for sentence in found.ignored:
        typer.echo(sentence)


def _coming(pending) -> str:
    if pending.next == pending.conversations and not pending.folder:
        return ""
    return f"; {pending.next} of them are next" + (
        f", with the folder {pending.folder}" if pending.folder else ""
    )


def _storage(as_json: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from luna.names import GenerationName
    from luna.operations import usage as history

    found = history.storage(root())
    if as_json:
        print_json(asdict(found))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("gen", "new MB", "shared MB", "stored MB", "adapter MB", "GGUF MB", "GGUF kept"):
        table.add_column(title, justify="right" if title.endswith("MB") else "left", no_wrap=True)
    for row in found.generations:
        kept = (
            f"{row.missing} objects MISSING"
            if row.missing
            else "rebuilt on demand"
            if row.lean
            else "yes"
        )
        table.add_row(
            GenerationName.parse(row.name).short,
            *(
                f"{value / 1e6:.1f}"
                for value in (row.own, row.shared, row.stored, row.adapter, row.model)
            ),
            kept,
        )
    Console().print(table)
    for title, value in (
        ("in cold storage:", found.stored),
        ("with every GGUF:", found.whole),
        ("plain DVC:", found.plain_dvc),
    ):
        typer.echo(f"{title:<22}{value / 1e6:.1f} MB")
    ratio = (
        f", {found.plain_dvc / found.stored:.1f} times less than plain DVC keeping adapter, merged weights and GGUF"
        if found.stored
        else ""
    )
    typer.echo(f"{'rule:':<22}cold.keep: {found.rule}{ratio}")
