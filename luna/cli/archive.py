"""The command `luna archive`; the work is in operations/archive.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from luna.cli.common import Json, line_of, print_json, repository_root
from luna.cli.progress import in_bytes
from luna.errors import InputError
from luna.operations import archive
from luna.operations.gate import changing
from luna.storage import cold


def command(
    generations: Annotated[
        list[str] | None, typer.Argument(help="Generations to archive: G003, 3, full names, HEAD.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Archive every sealed generation, and every snapshot.")
    ] = False,
    remote: Annotated[
        str | None,
        typer.Option("--remote", help="Only into this DVC remote (default: all of cold storage)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring generations into cold storage, and read every byte back.

    Use it for a remote that was added later, or that was offline when a generation was sealed. The
    remote is the one that this clone's configuration names now, not the one that an old tag names.
    Objects that are there already are not uploaded again, so an interrupted run can be repeated.
    Nothing in a store is ever deleted.
    """
    if bool(generations) == everything:
        raise InputError(
            "Say which generations ('luna archive G001 G003'), or all of them "
            "('luna archive --all')."
        )
    root = repository_root()
    with changing(root, "archive"), in_bytes("reading back", as_json) as progress:
        line = line_of(root)
        names = (
            [*line.names, *line.snapshots]
            if everything
            else sorted({line.resolve(given) for given in generations or []}, key=line.names.index)
        )
        stores = cold.open_all(root) if remote is None else [cold.open_store(root, remote)]
        archived = archive.archive(line, names, stores, progress, begin=remote is not None)
    if as_json:
        print_json([asdict(item) for item in archived])
        return
    for item in archived:
        left = f", {item.thinned} left out by cold.keep" if item.thinned else ""
        typer.echo(
            f"{item.name}: whole in '{item.store}', {item.objects} objects read back, "
            f"{item.uploaded} uploaded{left}"
        )
