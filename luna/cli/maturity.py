"""The command maturity: is she still growing?"""

from __future__ import annotations

import typer

from luna.cli.common import Json, print_json, root, say

_NEWEST = 20  # rows that are shown
_BAR = 20  # characters of the longest bar


def register(app: typer.Typer) -> None:
    app.command()(maturity)


def maturity(as_json: Json = False) -> None:
    """Whether the current best's line still grows, or has reached a plateau.

    Mature: so many promoted generations in a row, in the head's own line, changed few weights and gained little in
    every score (the bounds are under 'maturity' in params.yaml). Nothing is decided by it. The trend is a straight
    line fitted to the weight change. Exit code 1 when the ledger cannot be read as far back as the line goes.
    """
    from luna.operations.maturity import maturity_of_head

    found, faults = maturity_of_head(root())
    if as_json:
        print_json(found.as_json() | {"faults": faults})
    else:
        if found.steps:
            from luna.cli.table import Column, show

            columns = [
                Column("gen"),
                Column("weights changed", right=True),
                Column("", drawn=True),
                Column("best gain", right=True),
                Column("stood still"),
            ]
            bars = max(step.weight_change for step in found.steps) or 1.0
            show(
                columns,
                [
                    [
                        f"G{step.gen:03d}",
                        f"{step.weight_change:g} %",
                        "#" * round(_BAR * step.weight_change / bars),
                        "-" if step.gain is None else f"{step.gain:+.3f}",
                        "yes" if step.still else "no",
                    ]
                    for step in found.steps[-_NEWEST:]
                ],
            )
            if len(found.steps) > _NEWEST:
                typer.echo(f"(the newest {_NEWEST} of {len(found.steps)}; --json has all)")
            rule = found.rule
            typer.echo(
                f"\nstood still: at most {rule.weight_change_percent:g} % of the weights changed, and no score gained more than {rule.score_gain:g}"
            )
            typer.echo(
                f"trend of the weight change: {found.trend.words if found.trend else 'too few generations for one'}"
            )
        typer.echo(found.sentence)
    for fault in faults:
        say(f"luna maturity: {fault}")
    if faults:
        raise typer.Exit(1)
