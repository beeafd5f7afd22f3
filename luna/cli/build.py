"""Commands that change the line: init, new, seal, evolve, rollback, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import Json, line_of, print_json, root, say, settings_of


def register(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(new)
    app.command()(seal)
    app.command()(evolve)
    app.command()(rollback)
    app.command()(restore)


def init() -> None:
    """Prepare this clone: git hooks, and refspecs that follow the head but never a changed generation.

    'make setup' runs it; running it again changes nothing.
    """
    from luna.export import converter
    from luna.operations import init

    place = root()
    for sentence in init.initialise(place, settings_of(place).line.prefix):
        say(sentence)
    converter.set_up()
    say("this clone is ready: run 'luna evolve'")


def new(
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Give up a generation that was started and not sealed."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the next generation: its name and parent are written to params.yaml.

    The parent is the current best (HEAD) at this moment. Conversations, parameters and base are checked
    first, and whether disk and memory suffice and cold storage holds the parent; when anything is wrong,
    nothing is changed. Next: dvc repro, then luna seal.
    """
    from luna.operations import new as history
    from luna.repo.lock import exclusive

    place = root()
    with exclusive(place, "new"):
        name = history.start(place, replace, say)
    if as_json:
        print_json({"name": str(name), "parent": settings_of(place).generation.parent})
    else:
        typer.echo(
            f"{name} is started (parent {settings_of(place).generation.parent}). Next: dvc repro, then luna seal"
        )


def _tell(sealed) -> None:
    verdict = (
        "promoted, it is the head now"
        if sealed.promoted and sealed.head == sealed.name
        else "promoted"
        if sealed.promoted
        else f"denied by the rule; the head stays {sealed.head or 'unset'}"
    )
    state = "sealed" if sealed.created else "was sealed before"
    pushed = f"; pushed to {sealed.pushed_to}" if sealed.pushed_to else ""
    typer.echo(f"{sealed.name}: {state}, {verdict}{pushed}")


def _tell_maturity(place: Path) -> None:
    from luna.operations.maturity import maturity_of_head

    found, faults = maturity_of_head(place)
    typer.echo(f"maturity of the head's line: {found.sentence}")
    for fault in faults:
        say(fault)


def seal(
    renumber: Annotated[
        bool,
        typer.Option(
            "--renumber",
            help="Another clone was first: follow the shared branch, take the next free number, and seal, without training again.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the finished generation history: cold storage, commit, tag, and the head if the rule said so.

    The data is written to cold storage and read back before anything is tagged. A generation that
    the rule denied is sealed like any other, and the head stays. Killed at any point, the same
    command goes on. With 'git config luna.pushRemote origin', branch and tags are pushed as well, before
    anything is sealed here: of two clones that seal the same number at once one wins, and the other is
    told. With --renumber it goes on: its parent and what it was taught stay as they are, all that
    carries the number is written again, and what the other clone's generation was taught waits for the
    next one. Your own commits are joined to the shared branch; where that cannot be, nothing is changed.
    """
    from luna.operations import evolve
    from luna.operations import renumber as numbers
    from luna.operations import seal as history
    from luna.repo.lock import exclusive

    place = root()
    with exclusive(place, "seal"):
        if renumber and numbers.renumber(place, lambda text: say(f"renumber: {text}")):
            evolve.reproduce(place, quiet=as_json)
        done = history.seal(place, lambda step: say(f"seal: {step}"))
    if as_json:
        print_json(done)
    else:
        _tell(done)
        _tell_maturity(place)


def evolve(
    most: Annotated[
        int, typer.Option("--max", min=1, help="Build at most this many generations.")
    ] = 1,
    until_mature: Annotated[
        bool,
        typer.Option(
            "--until-mature",
            help="Stop when the head's line is mature, by the rule that 'luna maturity' shows.",
        ),
    ] = False,
    denials: Annotated[
        int | None,
        typer.Option(
            "--denials",
            min=1,
            help="Stop after this many denials in a row; evolve.max_denials in params.yaml where not given.",
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            help="Stop after this stage (prep, train, export, evaluate) and hand the generation over to another machine.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print an event a line as JSON: started, stage, sealed, retry, stopped, handed over, failed.",
        ),
    ] = False,
) -> None:
    """Grow: new, dvc repro and seal in one command, going on with whatever was left unfinished.

    With --max above 1 it goes on, data.batch_size conversations a generation, until nothing is left to
    learn, the rule denied too often, the disk is low, or Ctrl-C; the same command goes on from there.
    After a denial the settings listed under retry: in params.yaml are tried, a generation each; a new call goes on with the
    first that history does not show as denied for the same parent, conversations and rule. With data.batches: folder
    each sub-folder of data/conversations is a batch, in the order of their names.

    The first time, generation 0 (the base itself) is built beside the first taught one. Exit code 1
    when the rule denied the last generation, 2 when there is nothing new to learn.

    With --stage train on a machine with a GPU, what was made so far goes into cold storage and an unfinished
    generation onto the branch (pushed with 'git config luna.pushRemote origin'). At home 'git pull' and
    'luna evolve' go on from there; nothing is trained again.
    """
    from luna.cli.events import telling
    from luna.errors import InputError
    from luna.operations import evolve as history
    from luna.operations import handover
    from luna.repo.lock import exclusive

    place = root()
    sealed: list[dict] = []
    if stage is not None:
        if stage not in handover.STAGES:
            raise InputError(
                f"There is no stage '{stage}' to stop after: give one of {', '.join(handover.STAGES)}."
            )
        if most > 1 or until_mature or denials is not None:
            raise InputError(
                "--stage builds part of one generation: give it without --max, --until-mature and --denials."
            )
        with telling(place, as_json, sealed) as event, exclusive(place, "evolve"):
            told = history.part(place, stage, say, event, quiet=as_json)
        if not as_json:
            where = (
                f"pushed to {told.pushed_to}"
                if told.pushed_to
                else "committed here alone (to push it: git config luna.pushRemote NAME, then the same command)"
            )
            typer.echo(
                f"{told.name}: built up to {told.stage}, {told.uploaded} objects went into cold storage, {where}. Next, elsewhere: git pull, luna evolve"
            )
        return
    try:
        with telling(place, as_json, sealed) as event, exclusive(place, "evolve"):
            grown = history.evolve(place, most, say, event, until_mature, denials, quiet=as_json)
    except BaseException:
        if not as_json:
            _table(sealed)
        raise
    if not as_json:
        for done in grown.built:
            _tell(done)
        _tell_maturity(place)
        if most > 1:
            _table(sealed)
            typer.echo(STOPPED[grown.stopped])
    if grown.built and not grown.built[-1].promoted:
        raise typer.Exit(1)


STOPPED = {
    "most": "stopped: as many as --max allows are built",
    "mature": "stopped: the line is mature",
    "denied": "stopped: the rule said no, and no other settings are left to try (retry: in params.yaml)",
    "nothing": "stopped: nothing new is left to learn",
    "disk": "stopped: the disk is low (evolve.min_free_gb in params.yaml)",
}


def _table(sealed: list[dict]) -> None:
    for row in sealed:
        typer.echo(
            f"  {row['name']:<32}{'promoted' if row['promoted'] else 'denied':<10}head {row['head'] or '-'}"
        )


def rollback(
    generation: Annotated[
        str,
        typer.Argument(
            help="The generation that becomes the current best again: G003, 3, or the full name."
        ),
    ],
    reason: Annotated[
        str, typer.Option("--reason", help="Why; kept for ever with the head's history.")
    ],
    stay: Annotated[
        bool, typer.Option("--stay", help="Move the head only; leave the workspace as it is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an earlier generation the current best again, and check it out.

    Its bytes are fetched and checked first. The move is recorded with its reason; nothing is lost,
    and the next generation's parent will be this one. To grow again: git switch main.
    """
    from luna.operations import rollback as history
    from luna.operations import thin
    from luna.repo.lock import exclusive

    place = root()
    with exclusive(place, "rollback"):
        done = history.rollback(place, generation, reason, stay, thin.restore)
    if as_json:
        print_json(done)
    else:
        typer.echo(
            f"The head is {done.name} now (it was {done.previous})."
            + (" To grow again: git switch main" if done.checked_out else "")
        )


def restore(
    generation: Annotated[
        str, typer.Argument(help="The generation to bring back: G003, 3, the full name, or HEAD.")
    ],
    as_json: Json = False,
) -> None:
    """Bring every byte of a generation from cold storage into the cache, checked by hash.

    A model.gguf that cold storage does not hold (see 'luna thin') is rebuilt from base and adapters,
    and taken only when it is the recorded one bit for bit. The workspace is not touched; afterwards
    'git checkout TAG' shows it at once.
    """
    from luna.operations import thin
    from luna.repo.lock import exclusive

    place = root()
    with exclusive(place, "restore"):
        name = line_of(place).resolve(generation)
        fetched = thin.restore(place, name, lambda text: say(f"restore: {text}"))
    if as_json:
        print_json({"name": name, "fetched": fetched})
    else:
        typer.echo(
            f"{name} is whole in the cache ({fetched} objects came from cold storage or were rebuilt). Next: git checkout {name}"
        )
