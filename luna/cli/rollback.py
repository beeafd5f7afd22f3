"""The command `luna rollback`; the work is in operations/rollback.py."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import Json, print_json, repository_root, say
from luna.history.known import Kind
from luna.operations import rollback
from luna.operations.gate import changing


def command(
    generation: Annotated[
        str,
        typer.Argument(
            help="The generation that becomes the current best again: G003, 3, or the full name."
        ),
    ],
    reason: Annotated[
        str,
        typer.Option(
            "--reason", help="Why you roll back; needed, and recorded with the move of the head."
        ),
    ] = "",
    stay: Annotated[
        bool, typer.Option("--stay", help="Move the head only; leave the workspace as it is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an earlier generation the current best again.

    First its files are fetched and checked, then the head moves, then the generation is checked out. The
    move is recorded with its reason. Nothing is lost, and the next generation's parent will be this one.
    If it is killed, run it again: it finishes.
    """
    root = repository_root()
    with changing(root, "rollback", frozenset({Kind.CUT, Kind.HALF})):
        moved = rollback.rollback(root, generation, reason, stay, say)
    if as_json:
        print_json(moved)
    else:
        back = f" To grow again: {moved.back}" if moved.back else ""
        typer.echo(f"The head is {moved.name} now (it was {moved.previous}).{back}")
