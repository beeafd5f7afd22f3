"""The command `luna eval`; the work is in operations/eval.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import Json, print_json, repository_root
from luna.operations import eval as exam
from luna.scores import BY_NAME, shown


def command(
    model: Annotated[
        str,
        typer.Argument(
            help="A generation (G003, 3, full name, HEAD) or the path of any GGUF file."
        ),
    ],
    probes: Annotated[
        Path | None,
        typer.Option(
            "--probes",
            exists=True,
            dir_okay=False,
            help="Ask the questions of this file instead (JSONL as in data/conversations).",
        ),
    ] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Show every answer too.")] = False,
    as_json: Json = False,
) -> None:
    """Examine a sealed generation, or any GGUF file, again.

    A generation is asked the probes that it was judged by, unless --probes gives others. A GGUF file is
    asked the probes of this workspace. History is not changed.
    """
    result = exam.evaluate(repository_root(), model, probes)
    if as_json:
        print_json(
            {
                "model": result.model,
                "scores": result.scores,
                "verdicts": [asdict(verdict) for verdict in result.verdicts],
                **({"answers": result.answer_rows} if answers else {}),
            }
        )
        return
    if answers:
        for item in result.marked:
            typer.echo(
                f"{'right' if item.correct else 'WRONG'}  {item.probe.messages[-1][1]}\n"
                f"       {item.answer.text}"
            )
    typer.echo(result.model)
    for verdict in result.verdicts:
        score = result.scores[verdict.clause]
        value = shown(verdict.value)
        if verdict.value is not None:
            value += f" ({shown(score['low'])} to {shown(score['high'])}, n = {score['n']})"
        typer.echo(
            f"  {BY_NAME[verdict.clause].words:<16}{value:<38}"
            f"{'passes' if verdict.passed else 'fails'} {verdict.bound}"
        )
