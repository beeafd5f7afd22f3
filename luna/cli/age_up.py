"""The command `luna age-up`; the work is in host/age.py."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import repository_root, say
from luna.cli.events import telling
from luna.errors import Busy
from luna.host import age
from luna.operations.gate import changing
from luna.operations.karma import karma


def command(
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON event per line, as 'luna evolve --json' does; the last one, "
            "age-up, is the result.",
        ),
    ] = False,
) -> None:
    """Grow by one generation, if enough karma was collected.

    Karma is the sum of what the waiting conversations are worth: their 'karma', or 1 for each that
    has none. age_up.karma_required in params.yaml says how much is needed. It is spent when a
    generation that learnt the conversations is promoted. A denied generation spends none; run the
    command again to try the next settings under retry:. Exit code 1 when there is too little karma,
    or when the rule denied the generation.
    """
    root = repository_root()
    with telling(root, as_json, []) as tell:
        try:
            with changing(root, "age-up"):
                result = age.grow(root, say, tell, quiet=as_json)
        except Busy as error:
            if not as_json:
                raise
            result = age.busy(karma(root), error.holder)
        if as_json:
            tell(age.result_event(result))
    if not as_json:
        typer.echo(_sentence(result))
    if result.outcome != "promoted":
        raise typer.Exit(1 if result.outcome != "busy" else Busy.exit_code)


def _sentence(result: age.AgeUp) -> str:
    if result.outcome == "refused":
        return (
            f"Not yet: karma {result.karma:g} of {result.required:g}, {result.missing:g} missing; "
            "add conversations, or build without waiting with 'luna evolve'."
        )
    verdict = (
        "promoted, it is the head now"
        if result.outcome == "promoted"
        else f"denied by the rule; the head stays {result.head}"
    )
    return (
        f"{result.generation}: {verdict}. "
        f"Karma {result.left:g} of {result.required:g} is collected for the next."
    )
