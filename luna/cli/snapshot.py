"""The command `luna snapshot`; the work is in operations/snapshot.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import Json, print_json, repository_root, say
from luna.cli.table import Column, show
from luna.errors import InputError
from luna.operations import snapshot
from luna.operations.gate import changing

#: How each form is called, and which of the options it needs, all of them and no other.
_FORMS = {
    "list": ("luna snapshot list", set()),
    "restore": ("luna snapshot restore NAME --to DIR", {"name", "to"}),
}
_KEEP = ("luna snapshot PATH --tag NAME -m TEXT", {"tag", "message"})


def command(
    path: Annotated[
        str,
        typer.Argument(
            help="The folder to keep; or the word list; or the word restore (a folder of such a "
            "name is given as ./list)."
        ),
    ],
    name: Annotated[str | None, typer.Argument(help="With restore: the snapshot's name.")] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            "--tag",
            help="The snapshot's name, for example before-the-move; it becomes the tag "
            "snapshot/NAME.",
        ),
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="What it is; kept with it.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="With restore: the folder to write; it must be new or empty."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep any folder for ever beside the generations.

    luna snapshot PATH --tag NAME -m TEXT keeps a folder. It has a generation's guarantees: its bytes are
    in cold storage and have been read back before its tag exists, the tag never moves, 'luna verify' reads
    every byte, 'luna gc' keeps it. Workspace and branch stay as they are. File modes and empty folders are
    not kept. If it is killed, run it again: it resumes. A name is never used twice.

    luna snapshot list shows them all. luna snapshot restore NAME --to DIR writes one out, checked by hash.
    """
    form, needed = _FORMS.get(path, _KEEP)
    options = {"name": name, "tag": tag, "message": message, "to": to}
    if {key for key, value in options.items() if value is not None} != needed:
        raise InputError(f"This is called as: {form}")
    root = repository_root()
    if path == "list":
        _list(root, as_json)
    elif path == "restore":
        assert name is not None and to is not None
        _restore(root, name, to, as_json)
    else:
        assert tag is not None and message is not None
        _keep(root, Path(path), tag, message, as_json)


def _list(root: Path, as_json: bool) -> None:
    snapshots = snapshot.listed(root)
    if as_json:
        print_json([asdict(item) for item in snapshots])
    elif snapshots:
        _show(snapshots)
    else:
        typer.echo("There is no snapshot yet: luna snapshot PATH --tag NAME -m TEXT")


def _restore(root: Path, name: str, to: Path, as_json: bool) -> None:
    with changing(root, "snapshot"):
        fetched = snapshot.restore(root, name, to)
    if as_json:
        print_json({"name": name, "to": str(to), "fetched": fetched})
    else:
        typer.echo(
            f"{name} is in {to}, every file as it was kept "
            f"({fetched} objects came from cold storage)"
        )


def _keep(root: Path, folder: Path, tag: str, message: str, as_json: bool) -> None:
    with changing(root, "snapshot"):
        made = snapshot.make(root, folder, tag, message, lambda step: say(f"snapshot: {step}"))
    if as_json:
        print_json(made)
        return
    kept = made.snapshot
    state = "kept" if made.created else "was kept before"
    pushed = f"; pushed to {made.pushed_to}" if made.pushed_to else ""
    typer.echo(
        f"{kept.tag}: {state}, {kept.files} files, {kept.bytes} bytes, "
        f"{made.uploaded} objects uploaded{pushed}"
    )


def _show(snapshots: list[snapshot.Snapshot]) -> None:
    columns = [
        Column("name"),
        Column("when", 1),
        Column("folder", 2),
        Column("files", 4, right=True),
        Column("bytes", 5, right=True),
        Column("content", 3),
        Column("description"),
    ]
    rows = [
        [
            item.name,
            item.when or "?",
            item.folder,
            str(item.files),
            str(item.bytes),
            item.object[:12],
            item.description,
        ]
        for item in snapshots
    ]
    show(columns, rows)
