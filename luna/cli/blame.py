"""The command `luna blame`; the work is in forensics/blame.py."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import Json, line_of, print_json, repository_root, say
from luna.cli.table import printable
from luna.forensics import blame

_LONG = 100  # generations above which reading them all takes more than a moment
_LISTED = 5
_LATER = 8  # later generations shown of one conversation


def command(
    question: Annotated[str, typer.Argument(help="The question whose answer is to be explained.")],
    generation: Annotated[
        str,
        typer.Option(
            "--generation", help="Search the line of this generation: G003, 3, full name, HEAD."
        ),
    ] = "HEAD",
    most: Annotated[
        int,
        typer.Option(
            "--max", min=1, max=50, help="How many of the nearest taught questions to show."
        ),
    ] = 3,
    as_json: Json = False,
) -> None:
    """Name the conversations that taught an answer.

    It shows the most similar taught questions, the generation that taught each, and whether later
    generations still answered it. Similarity is chrF of the questions (0 to 100). No model is loaded:
    the answers of later generations are read from their own evals. Exit code 1 when no taught question
    is similar (all below 40).
    """
    root = repository_root()
    line = line_of(root)
    if len(line.sealed) > _LONG:
        say(f"reading the training sets and answers of up to {len(line.sealed)} generations")
    result = blame.blame(root, line, question, most, generation)
    near = bool(result.nearest) and result.nearest[0].similarity >= blame.NEAR
    if as_json:
        print_json(result)
    else:
        _show(result, near)
    if not near:
        raise typer.Exit(1)


def _show(result: blame.Blame, near: bool) -> None:
    if not near:
        typer.echo(f"No similar question was taught on the line of {result.head}; the nearest:")
    for item in result.nearest:
        typer.echo(f"{item.similarity:5.1f}  {printable(item.asked)}")
        typer.echo(f"       → {printable(item.reply)}")
        typer.echo(f"       taught by {item.by} (conversation {item.conversation[:12]})")
        for later in _most_telling(item.later):
            typer.echo(f"         {_sentence(later, item.by)}")
        if len(item.later) > _LATER:
            typer.echo(
                f"         and {len(item.later) - _LATER} more generations (--json lists all)"
            )
    for sentence in result.missing[:_LISTED]:
        say(f"luna blame: {printable(sentence)}")
    if len(result.missing) > _LISTED:
        more = len(result.missing) - _LISTED
        say(f"luna blame: and {more} more could not be read (--json lists all)")


def _sentence(later: blame.Later, taught_by: str) -> str:
    exam = (
        f"{later.right} of {later.asked} right in its evals"
        if later.asked
        else "not asked at its exam"
    )
    if later.generation == taught_by:
        training = "taught"
    else:
        training = "trained on again" if later.trained else "not trained on"
    return f"{later.generation}: {training}, {exam}"


def _most_telling(later: list[blame.Later]) -> list[blame.Later]:
    """Of many generations: the one that taught it, those that answered it wrongly, and the newest."""
    if len(later) <= _LATER:
        return later
    wrong = [item for item in later[1:] if item.right < item.asked][: _LATER - 1]
    others = [item for item in later[1:] if item not in wrong]
    newest = others[len(others) - (_LATER - 1 - len(wrong)) :]
    return [item for item in later if item is later[0] or item in wrong or item in newest]
