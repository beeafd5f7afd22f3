"""The command `luna reproduce`; the work is in operations/reproduce.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from luna.cli.common import GENERATION, Json, line_of, print_json, repository_root, say
from luna.operations import reproduce
from luna.operations.gate import changing


def command(
    generation: Annotated[
        str, typer.Argument(help=f"The generation to train again: {GENERATION}.")
    ],
    as_json: Json = False,
) -> None:
    """Train a generation again from its tag, and compare the results.

    It trains in a scratch clone, with the code, parameters and data of the tag. On the same kind of
    device with the same packages the result must be the same bit for bit; on another, the scores must
    lie within the recorded intervals. The verdict is committed as an in-toto statement in attestations/,
    never in the sealed generation. Exit code 1 when the result differs. It takes as long as the training.
    """
    root = repository_root()
    name = line_of(root).resolve(generation)
    result = reproduce.reproduce(root, name, lambda text: say(f"reproduce: {text}"))
    with changing(root, "reproduce"):
        path = reproduce.record(root, result)
    if as_json:
        print_json(asdict(result) | {"holds": result.holds, "statement": path.as_posix()})
    else:
        kind = (
            "the same kind of device and the same packages"
            if result.same_kind
            else "another device or other packages"
        )
        typer.echo(f"{name}: {result.verdict}, on {kind}")
        for out, equal in result.same.items():
            typer.echo(f"  {out}: {'the same bytes' if equal else 'other bytes'}")
        for clause, row in result.scores.items():
            typer.echo(
                f"  {clause.replace('_', ' ')}: recorded {row['recorded']} "
                f"({row['low']} to {row['high']}), now {row['found']}"
            )
        typer.echo(f"recorded in {path}")
    if not result.holds:
        raise typer.Exit(1)
