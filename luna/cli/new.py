"""The command `luna new`; the work is in operations/new.py."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import Json, print_json, repository_root, say, settings_of
from luna.operations import new
from luna.operations.gate import changing


def command(
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Give up a generation that was started and not sealed."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the next generation: its name and parent go to params.yaml.

    The parent is the current best (HEAD) at this moment. Conversations, parameters and base are checked
    first, and whether disk and memory suffice and cold storage holds the parent; when anything is wrong,
    nothing is changed. Next: dvc repro, then luna seal.
    """
    root = repository_root()
    with changing(root, "new"):
        name = new.start(root, replace, say)
    parent = settings_of(root).generation.parent
    if as_json:
        print_json({"name": str(name), "parent": parent})
    else:
        typer.echo(f"{name} is started (parent {parent}). Next: dvc repro, then luna seal")
