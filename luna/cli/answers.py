"""Commands that ask where an answer came from or went: bisect, blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from luna.cli.common import Json, line_of, print_json, root, say

if TYPE_CHECKING:
    from luna.forensics.bisect import Found
    from luna.forensics.blame import Blame, Later

_LONG = 100  # generations above which reading them all takes more than a moment
_LISTED = 5
_TELLING = 8  # later generations shown of one conversation


def register(app: typer.Typer) -> None:
    app.command()(bisect)
    app.command()(blame)


def bisect(
    question: Annotated[str, typer.Argument(help="What to ask, as a user would.")],
    expect: Annotated[
        str,
        typer.Option(
            "--expect",
            help="Words that the answer must contain; case and punctuation do not matter.",
        ),
    ],
    good: Annotated[
        str | None,
        typer.Option(
            "--good",
            help="A generation that answers with them (G003, 3, full name, HEAD). Default: searched for.",
        ),
    ] = None,
    bad: Annotated[
        str | None, typer.Option("--bad", help="A generation that does not. Default: searched for.")
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Ask every generation of the line and print what each answers."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Find the generation at which an answer was lost, or learnt.

    The line of the current best is searched from its end backwards, or the line between --good and --bad (one given: between
    it and the current best). Models come from the cache or from cold storage; the working tree is not touched. An answer
    counts when the words stand in it, even one cut off at the token limit. Exit code 1 when no change was found.
    """
    from luna.forensics import bisect as search

    place = root()
    line = line_of(place)
    asked = search.every if every else search.bisect
    found = asked(place, line, question, expect, good, bad, lambda name: say(f"asking {name}"))
    if as_json:
        print_json(found)
    else:
        _show(found, every)
    if not every and found.at is None:
        raise typer.Exit(1)
    if every and found.unaskable:
        raise typer.Exit(1)


def _show(found: Found, every: bool) -> None:
    from luna.cli.table import Column, printable, show

    rows = [
        [reply.name, "yes" if reply.has else "no", reply.answer or "(nothing)"]
        for reply in found.replies
    ] + [[name, "?", why] for name, why in found.unaskable.items()]
    show(
        [Column("generation"), Column("has it"), Column("answer")],
        sorted(rows),
        ["green" if row[1] == "yes" else "" for row in sorted(rows)],
    )
    if every:
        return
    expect = printable(found.expect)
    if found.at is None:
        typer.echo(
            f"No change was found: none of the {len(found.replies)} generations asked answers otherwise than the others as to '{expect}'. 'luna bisect ... --all' asks every one."
        )
        return
    typer.echo(
        f"'{expect}' was {found.change} at {found.at}: {found.before} {'has it' if found.change == 'lost' else 'has it not'}, {found.at} {'has it not' if found.change == 'lost' else 'has it'}."
    )
    if found.between:
        typer.echo(f"Or at one of {', '.join(found.between)}, which cannot be asked (see above).")


def blame(
    question: Annotated[str, typer.Argument(help="The question whose answer is to be explained.")],
    generation: Annotated[
        str, typer.Option("--generation", help="Whose line to search: G003, 3, full name, HEAD.")
    ] = "HEAD",
    most: Annotated[
        int,
        typer.Option(
            "--max", min=1, max=50, help="How many of the nearest taught questions to show."
        ),
    ] = 3,
    as_json: Json = False,
) -> None:
    """Name the conversations that taught an answer: the nearest taught questions, by whom, and what later batches did with them.

    Nearness is chrF of the questions (0 to 100). No model is asked: what later generations answered is read from their own
    exams. Exit code 1 when nothing near was taught (below 40).
    """
    from luna.forensics import blame as search

    place = root()
    line = line_of(place)
    if len(line.sealed) > _LONG:
        say(f"reading the training sets and exams of up to {len(line.sealed)} generations")
    found = search.blame(place, line, question, most, generation)
    near = bool(found.nearest) and found.nearest[0].similarity >= search.NEAR
    if as_json:
        print_json(found)
    else:
        _show_blame(found, near)
    if not near:
        raise typer.Exit(1)


def _telling(later: list[Later]) -> list[Later]:
    """Of many, those that say most: who taught it, who answered it wrongly, and the newest."""
    if len(later) <= _TELLING:
        return later
    wrong = [item for item in later[1:] if item.right < item.asked][: _TELLING - 1]
    newest = (
        [item for item in later[1:] if item not in wrong][-(_TELLING - 1 - len(wrong)) :]
        if len(wrong) < _TELLING - 1
        else []
    )
    return [item for item in later if item is later[0] or item in wrong or item in newest]


def _show_blame(found: Blame, near: bool) -> None:
    from luna.cli.table import printable

    if not near:
        typer.echo(f"Nothing near was taught on the line of {found.head}; the nearest:")
    for item in found.nearest:
        typer.echo(f"{item.similarity:5.1f}  {printable(item.asked)}")
        typer.echo(f"       → {printable(item.reply)}")
        typer.echo(f"       taught by {item.by} (conversation {item.conversation[:12]})")
        for later in _telling(item.later):
            exam = (
                f"{later.right} of {later.asked} right at its exam"
                if later.asked
                else "not asked at its exam"
            )
            what = (
                "taught"
                if later.generation == item.by
                else "trained on again"
                if later.trained
                else "not trained on"
            )
            typer.echo(f"         {later.generation}: {what}, {exam}")
        if len(item.later) > _TELLING:
            typer.echo(
                f"         and {len(item.later) - _TELLING} more generations (--json lists all)"
            )
    for sentence in found.missing[:_LISTED]:
        say(f"luna blame: {printable(sentence)}")
    if len(found.missing) > _LISTED:
        say(
            f"luna blame: and {len(found.missing) - _LISTED} more could not be read (--json lists all)"
        )
