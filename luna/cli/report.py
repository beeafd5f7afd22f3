"""The command `luna report`; the work is in forensics/report/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luna import files
from luna.cli.common import Json, line_of, print_json, repository_root, say
from luna.errors import InputError
from luna.forensics.report import collect, page
from luna.history import known


def command(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file to write; one that is there is replaced."),
    ] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """The whole line on one HTML page that opens offline.

    It shows the lineage, cards, scores against the rule, forgetting, weights, cost and the head's moves
    in one file that opens in any browser and loads nothing else. What cannot be read is marked on it.
    """
    line = line_of(repository_root())
    if not line.sealed:
        known.require(line)
        raise InputError(
            "No generation has been sealed yet, so there is nothing to report: run 'luna evolve'."
        )
    if output.is_dir():
        raise InputError(
            f"{output} is a folder: give the path of a file, for example "
            f"-o {output / 'report.html'}."
        )
    if not output.absolute().parent.is_dir():
        raise InputError(
            f"There is no folder {output.parent}: make it, or give another path with -o."
        )
    data = collect.collect(line)
    files.write_text(output, page.render(data))
    generations = len(data["generations"])
    marked = sum(bool(item["marks"]) for item in data["generations"])
    size = output.stat().st_size
    if as_json:
        print_json(
            {"path": str(output), "bytes": size, "generations": generations, "marked": marked}
        )
        return
    typer.echo(f"{output}: {generations} generations, {size / 1e6:.1f} MB. Open it in any browser.")
    if marked:
        say(
            f"luna report: {marked} of the generations have something that cannot be read; "
            "the page marks it."
        )
