"""The command `luna evolve`; the work is in operations/evolve.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from luna.cli.common import printable, repository_root, say
from luna.cli.events import telling
from luna.cli.seal import show_maturity, show_sealed
from luna.errors import InputError
from luna.operations import evolve, handover
from luna.operations.gate import changing
from luna.operations.seal import Sealed
from luna.scores import shown

_STOPPED = {
    "most": "stopped: --max generations are built",
    "mature": "stopped: the line is mature",
    "denied": "stopped: the rule said no, and no other settings are left to try "
    "(retry: in params.yaml)",
    "nothing": "stopped: nothing new is left to learn",
    "disk": "stopped: the disk is low (evolve.min_free_gb in params.yaml)",
}


def command(
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
            help="Stop after this many denials in a row; evolve.max_denials in params.yaml where "
            "not given.",
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            help="Stop after this stage (prep, train, export, evaluate) and hand the generation "
            "over to another machine.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON event per line: started, stage, sealed, retry, stopped, "
            "handed over, failed.",
        ),
    ] = False,
) -> None:
    """Grow: new, dvc repro and seal in one command.

    An unfinished generation is resumed. With --max above 1 it builds several, with data.batch_size
    conversations each, until nothing is left to learn, the rule denied too often, the disk is low, or
    you press Ctrl-C; run it again to resume. After a denial, each entry under retry: in params.yaml is
    tried in turn, as a generation of its own; entries that were denied before with the same parent,
    conversations and rule are skipped. With data.batches: folder each sub-folder of data/conversations
    is a batch, in the order of their names.

    The first call builds generation 0 (the base itself) as well as the first taught one. Exit code 1
    when the rule denied the last generation, 2 when there is nothing new to learn.

    To train on a machine with a GPU, use --stage train there: its results go into cold storage, and the
    unfinished generation onto the branch (pushed if 'git config luna.pushRemote origin' is set). Then
    run 'git pull' and 'luna evolve' at home: it resumes after that stage, and nothing is trained again.
    """
    root = repository_root()
    if stage is None:
        _grow(root, most, until_mature, denials, as_json)
        return
    if stage not in handover.STAGES:
        raise InputError(
            f"There is no stage '{stage}' to stop after: give one of {', '.join(handover.STAGES)}."
        )
    if most > 1 or until_mature or denials is not None:
        raise InputError(
            "--stage builds part of one generation: give it without --max, --until-mature and "
            "--denials."
        )
    _hand_over(root, stage, as_json)


def _grow(root: Path, most: int, until_mature: bool, denials: int | None, as_json: bool) -> None:
    events: list[dict[str, Any]] = []
    try:
        with telling(root, as_json, events) as event, changing(root, "evolve"):
            grown = evolve.evolve(root, most, say, event, until_mature, denials, quiet=as_json)
    except BaseException:
        if not as_json:
            _show_table(events)
        raise
    if not as_json:
        for sealed in grown.built:
            show_sealed(sealed)
        show_maturity(root)
        if most > 1:
            _show_table(events)
            typer.echo(_STOPPED[grown.stopped])
        if grown.built:
            _show_learnt(root, grown.built[-1])
    if grown.built and not grown.built[-1].promoted:
        raise typer.Exit(1)


def _hand_over(root: Path, stage: str, as_json: bool) -> None:
    with telling(root, as_json, []) as event, changing(root, "evolve"):
        handed = evolve.part(root, stage, say, event, quiet=as_json)
    if as_json:
        return
    where = (
        f"pushed to {handed.pushed_to}"
        if handed.pushed_to
        else "committed here alone "
        "(to push it: git config luna.pushRemote NAME, then the same command)"
    )
    typer.echo(
        f"{handed.name}: built up to {handed.stage}, {handed.uploaded} objects went into cold "
        f"storage, {where}. Next, elsewhere: git pull, luna evolve"
    )


def _show_table(events: list[dict[str, Any]]) -> None:
    for row in events:
        verdict = "promoted" if row["promoted"] else "denied"
        typer.echo(f"  {row['name']:<32}{verdict:<10}head {row['head'] or '-'}")


def _show_learnt(root: Path, sealed: Sealed) -> None:
    """The end of a first run: what the last generation was taught, what it scored, and what to do with it."""
    learnt = evolve.learnt(root, sealed.name)
    scores = ", ".join(
        f"{name} {shown(value)}" for name, value in learnt.scores.items() if value is not None
    )
    typer.echo(f"It learnt {learnt.conversations} conversations: {scores or 'nothing to score'}.")
    if sealed.promoted:
        typer.echo("Talk to the current best: luna chat")
    elif learnt.advice:
        typer.echo(printable(f"{learnt.advice.reason}\nnext: {learnt.advice.step}"))
