"""Commands that do for a person what luna.host does for a program: age-up."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import root, say


def register(app: typer.Typer) -> None:
    app.command("age-up")(age_up)


def age_up(
    as_json: Annotated[bool, typer.Option("--json", help="Print an event a line as JSON, as 'luna evolve --json' does; the last one, age-up, is the result.")] = False,
) -> None:
    """Grow by one generation, if enough karma was collected.

    Karma is what all conversations are worth that wait to be learnt (their 'karma', 1 where they have none); age_up.karma_required
    in params.yaml says how much is needed. It starts from zero when a generation that learnt them is promoted. A denied one
    uses up nothing, and the same command goes on with the next settings under retry:. Exit code 1 when karma is missing, or
    the rule denied the generation.
    """
    from luna.cli.events import telling
    from luna.errors import Busy
    from luna.history.karma import karma
    from luna.history.lock import exclusive
    from luna.host import age as host

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
    verdict = "promoted, it is the head now" if done.outcome == "promoted" else f"denied by the rule; the head stays {done.head}"
    return f"{done.generation}: {verdict}. Karma {done.left:g} of {done.required:g} is collected for the next."
