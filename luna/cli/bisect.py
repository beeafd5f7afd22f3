"""The command `luna bisect`; the work is in forensics/bisect.py."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import Json, line_of, print_json, repository_root, say
from luna.cli.table import Column, printable, show
from luna.forensics import bisect


def command(
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
            help="A generation that answers with them (G003, 3, full name, HEAD). "
            "Default: searched for.",
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

    The search goes through the line of the current best, or through the part between --good and --bad
    (if you give one of them: between it and the current best). Models come from the cache or from cold
    storage; the working tree is not touched. An answer counts when it contains the words, even if it
    was cut off at the token limit. Exit code 1 when no change was found.
    """
    root = repository_root()
    line = line_of(root)
    search = bisect.every if every else bisect.bisect
    result = search(root, line, question, expect, good, bad, lambda name: say(f"asking {name}"))
    if as_json:
        print_json(result)
    else:
        _show_replies(result)
        if not every:
            _show_change(result)
    if result.unaskable if every else result.at is None:
        raise typer.Exit(1)


def _show_replies(result: bisect.BisectResult) -> None:
    rows = sorted(
        [
            [reply.name, "yes" if reply.has else "no", reply.answer or "(nothing)"]
            for reply in result.replies
        ]
        + [[name, "?", why] for name, why in result.unaskable.items()]
    )
    show(
        [Column("generation"), Column("has it"), Column("answer")],
        rows,
        ["green" if row[1] == "yes" else "" for row in rows],
    )


def _show_change(result: bisect.BisectResult) -> None:
    expect = printable(result.expect)
    if result.at is None:
        typer.echo(
            f"No change was found: all {len(result.replies)} generations asked answer the same way "
            f"as to '{expect}'. 'luna bisect ... --all' asks every one."
        )
        return
    before, after = (
        ("has it", "has it not") if result.change == "lost" else ("has it not", "has it")
    )
    typer.echo(
        f"'{expect}' was {result.change} at {result.at}: {result.before} {before}, "
        f"{result.at} {after}."
    )
    if result.between:
        typer.echo(
            f"It may also have been one of {', '.join(result.between)}, which cannot be asked (see above)."
        )
