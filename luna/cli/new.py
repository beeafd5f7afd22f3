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
        typer.Option("--replace", help="Abandon a generation that was started and not sealed."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the next generation: name and parent go into params.yaml.

    The parent is the current best (HEAD) at this moment. First it checks conversations, parameters and
    base, that disk and memory suffice, and that cold storage holds the parent; when a check fails, nothing
    is changed. Next: dvc repro, then luna seal.
    """
    root = repository_root()
    with changing(root, "new"):
        name = new.start(root, replace, say)
    parent = settings_of(root).generation.parent
    if as_json:
        print_json({"name": str(name), "parent": parent})
    else:
        typer.echo(f"{name} is started (parent {parent}). Next: dvc repro, then luna seal")
