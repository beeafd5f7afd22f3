"""Commands that only look: status."""

from __future__ import annotations

import typer

from luna.cli.common import Json, print_json, root


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(as_json: Json = False) -> None:
    """Where the line stands: current best, newest generation, what is being built, what waits to be learnt."""
    from dataclasses import asdict

    from luna.history import status as history

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
