"""The command `luna maturity`; the rule is in promotion/maturity.py."""

from __future__ import annotations

import typer

from luna.cli.common import Json, print_json, repository_root, say
from luna.cli.table import Column, show
from luna.operations import maturity as growth
from luna.promotion.maturity import Maturity
from luna.scores import shown_change

_NEWEST = 20  # rows that are shown
_BAR = 20  # characters of the longest bar


def command(as_json: Json = False) -> None:
    """Show whether the model still changes and improves.

    A line is mature when the last promoted generations in a row changed few weights, gained little in
    every score and lost little of what the base could do; 'maturity' in params.yaml has their number and the bounds. Nothing is decided by it. The
    trend is a straight line fitted to the weight change. Exit code 1 when the ledger cannot be read back
    to the beginning of the line.
    """
    maturity, faults = growth.maturity_of_head(repository_root())
    if as_json:
        print_json(maturity.as_json() | {"faults": faults})
    else:
        if maturity.steps:
            _show(maturity)
        typer.echo(maturity.sentence)
    for fault in faults:
        say(f"luna maturity: {fault}")
    if faults:
        raise typer.Exit(1)


def _show(maturity: Maturity) -> None:
    columns = [
        Column("gen"),
        Column("weights changed", right=True),
        Column("", drawn=True),
        Column("best gain", right=True),
        Column("stood still"),
    ]
    longest = max(step.weight_change for step in maturity.steps) or 1.0
    rows = [
        [
            f"G{step.gen:03d}",
            f"{step.weight_change:g} %",
            "#" * round(_BAR * step.weight_change / longest),
            shown_change(step.gain),
            "yes" if step.still else "no",
        ]
        for step in maturity.steps[-_NEWEST:]
    ]
    show(columns, rows)
    if len(maturity.steps) > _NEWEST:
        typer.echo(f"(the newest {_NEWEST} of {len(maturity.steps)}; --json has all)")
    rule = maturity.rule
    typer.echo(
        f"\nstood still: at most {rule.weight_change_percent:g} % of the weights changed, and no "
        f"score gained more than {rule.score_gain:g}, nor was more than that lost of the base's ability"
    )
    if any(step.by_another_measure for step in maturity.steps):
        typer.echo(
            "scores by another measure than the parent's do not compare: they show no gain, and "
            "such a generation does not count as one that stood still"
        )
    trend = maturity.trend.words if maturity.trend else "too few generations for one"
    typer.echo(f"trend of the weight change: {trend}")
