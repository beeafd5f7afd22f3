"""Commands that do for a person what luna.host does for a program: age-up, snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import print_json, root, say
from luna.errors import InputError


def register(app: typer.Typer) -> None:
    app.command("age-up")(age_up)
    app.command()(snapshot)


def age_up(
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print an event a line as JSON, as 'luna evolve --json' does; the last one, age-up, is the result.",
        ),
    ] = False,
) -> None:
    """Grow by one generation, if enough karma was collected.

    Karma is what all conversations are worth that wait to be learnt (their 'karma', 1 where they have none); age_up.karma_required
    in params.yaml says how much is needed. It starts from zero when a generation that learnt them is promoted. A denied one
    uses up nothing, and the same command goes on with the next settings under retry:. Exit code 1 when karma is missing, or
    the rule denied the generation.
    """
    from luna.cli.events import telling
    from luna.errors import Busy
    from luna.host import age as host
    from luna.operations.karma import karma
    from luna.repo.lock import exclusive

    place = root()
    with telling(place, as_json, []) as tell:
        try:
            with exclusive(place, "age-up"):
                done = host.grow(place, say, tell, quiet=as_json)
        except Busy as error:
            if not as_json:
                raise
            done = host.busy(karma(place), error.holder)
        if as_json:
            tell(host.result_event(done))
    if not as_json:
        typer.echo(_sentence(done))
    if done.outcome != "promoted":
        raise typer.Exit(1 if done.outcome != "busy" else Busy.exit_code)


def _sentence(done) -> str:
    if done.outcome == "refused":
        return f"Not yet: karma {done.karma:g} of {done.required:g}, {done.missing:g} missing; add conversations, or build all the same with 'luna evolve'."
    verdict = (
        "promoted, it is the head now"
        if done.outcome == "promoted"
        else f"denied by the rule; the head stays {done.head}"
    )
    return f"{done.generation}: {verdict}. Karma {done.left:g} of {done.required:g} is collected for the next."


_FORMS = {
    "list": ("luna snapshot list", set()),
    "restore": ("luna snapshot restore NAME --to DIR", {"name", "to"}),
}


def snapshot(
    path: Annotated[
        str,
        typer.Argument(
            help="The folder to keep; or the word list; or the word restore (a folder of such a name is given as ./list)."
        ),
    ],
    name: Annotated[str | None, typer.Argument(help="With restore: the snapshot's name.")] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            "--tag",
            help="The snapshot's name, for example before-the-move; it becomes the tag snapshot/NAME.",
        ),
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="What it is; kept with it.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="With restore: the folder to write; it must be new or empty."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for a script instead of text.")
    ] = False,
) -> None:
    """Keep any folder for ever beside the generations: luna snapshot PATH --tag NAME -m TEXT.

    It has a generation's guarantees: its bytes are in cold storage and have been read back before its tag exists, the tag
    never moves, 'luna verify' reads every byte, 'luna gc' keeps it. Workspace and branch stay as they are. Files alone are
    kept, not their modes or empty folders. Killed, the same command goes on; a name is never used twice.

    luna snapshot list shows them all. luna snapshot restore NAME --to DIR writes one out, checked by hash.
    """
    from dataclasses import asdict

    from luna.operations import snapshot as history
    from luna.repo.lock import exclusive

    place = root()
    form, wanted = _FORMS.get(path, ("luna snapshot PATH --tag NAME -m TEXT", {"tag", "message"}))
    if {
        key
        for key, value in (("name", name), ("tag", tag), ("message", message), ("to", to))
        if value is not None
    } != wanted:
        raise InputError(f"This is called as: {form}")
    if path == "list":
        found = history.listed(place)
        if as_json:
            print_json([asdict(item) for item in found])
        elif found:
            _show(found)
        else:
            typer.echo("There is no snapshot yet: luna snapshot PATH --tag NAME -m TEXT")
    elif path == "restore":
        with exclusive(place, "snapshot"):
            fetched = history.restore(place, name, to)
        if as_json:
            print_json({"name": name, "to": str(to), "fetched": fetched})
        else:
            typer.echo(
                f"{name} is in {to}, every file as it was kept ({fetched} objects came from cold storage)"
            )
    else:
        with exclusive(place, "snapshot"):
            done = history.make(
                place, Path(path), tag, message, lambda step: say(f"snapshot: {step}")
            )
        if as_json:
            print_json(done)
        else:
            kept = done.snapshot
            state = "kept" if done.created else "was kept before"
            typer.echo(
                f"{kept.tag}: {state}, {kept.files} files, {kept.bytes} bytes, {done.uploaded} objects uploaded{f'; pushed to {done.pushed_to}' if done.pushed_to else ''}"
            )


def _show(found) -> None:
    from luna.cli.table import Column, show

    columns = [
        Column("name"),
        Column("when", 1),
        Column("folder", 2),
        Column("files", 4, right=True),
        Column("bytes", 5, right=True),
        Column("content", 3),
        Column("description"),
    ]
    show(
        columns,
        [
            [
                item.name,
                item.when or "?",
                item.folder,
                str(item.files),
                str(item.bytes),
                item.object[:12],
                item.description,
            ]
            for item in found
        ],
    )
