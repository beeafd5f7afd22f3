"""The command `luna seal`; the work is in operations/seal.py and operations/renumber.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import Json, print_json, repository_root, say
from luna.history.known import Kind
from luna.operations import evolve, renumber, seal
from luna.operations.gate import changing
from luna.operations.maturity import maturity_of_head
from luna.operations.seal import Sealed


def command(
    another_number: Annotated[
        bool,
        typer.Option(
            "--renumber",
            help="Another clone was first: follow the shared branch, take the next free number, "
            "and seal, without training again.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the finished generation history: cold storage, commit, tag.

    The data is written to cold storage and read back first; then come commit and tag, and the head moves
    if the rule promoted the generation. A denied generation is sealed like any other, and the head stays.
    If it is killed, run it again: it resumes.

    With 'git config luna.pushRemote origin', branch and tags are pushed too, before anything is sealed
    here: when two clones seal the same number at once, one wins and the other is refused. Then run it with
    --renumber: the generation takes the next free number and keeps its parent and its training. What the
    other clone's generation learnt waits for the next one. Your own commits are merged with the shared
    branch; if they conflict, nothing is changed.
    """
    root = repository_root()
    with changing(root, "seal", frozenset({Kind.HALF})):
        if another_number and renumber.renumber(root, lambda text: say(f"renumber: {text}")):
            evolve.reproduce(root, quiet=as_json)
        sealed = seal.seal(root, lambda step: say(f"seal: {step}"))
    if as_json:
        print_json(sealed)
    else:
        show_sealed(sealed)
        show_maturity(root)


def show_sealed(sealed: Sealed) -> None:
    """Print what became of one generation."""
    if not sealed.promoted:
        verdict = f"denied by the rule; the head stays {sealed.head or 'unset'}"
    elif sealed.head == sealed.name:
        verdict = "promoted, it is the head now"
    else:
        verdict = "promoted"
    state = "sealed" if sealed.created else "was sealed before"
    pushed = f"; pushed to {sealed.pushed_to}" if sealed.pushed_to else ""
    typer.echo(f"{sealed.name}: {state}, {verdict}{pushed}")


def show_maturity(root: Path) -> None:
    """Print whether the head's line still grows, and what could not be read for it."""
    maturity, faults = maturity_of_head(root)
    typer.echo(f"maturity of the head's line: {maturity.sentence}")
    for fault in faults:
        say(fault)
