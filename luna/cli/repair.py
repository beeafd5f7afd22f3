"""The command `luna repair`; the work is in audit/repair.py."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from luna import artifacts
from luna.audit import repair
from luna.cli.common import (
    Generations,
    Json,
    print_json,
    printable,
    reachable_stores,
    repository_root,
    say,
    settings_of,
)
from luna.history import thinned
from luna.operations.rebuild import remaker
from luna.repo.lock import exclusive


def command(
    generations: Generations = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Repair what verify reports, from another, intact copy.

    It takes intact copies from the cache, cold storage, git remotes and the record. What is damaged is
    first moved to 'quarantine', here or in the store; nothing is deleted. If it is killed, run it again.
    Exit code 0 when everything is intact afterwards, 1 when something cannot be repaired.
    """
    root = repository_root()
    settings = settings_of(root)
    prefix = settings.line.prefix
    with (
        exclusive(root, "repair"),
        tempfile.TemporaryDirectory(prefix="rebuild-", dir=root / artifacts.SCRATCH) as scratch,
    ):
        stores = reachable_stores(root)
        repairs = repair.repair(
            root,
            prefix,
            settings.generation.name,
            stores,
            dry_run,
            generations or (),
            remaker(root, prefix, Path(scratch), say),
            thinned.everywhere(root, prefix, stores),
            lambda text: say(printable(f"repair: {text}")),
        )
    if as_json:
        steps = [{"finding": step.finding.as_json(), "done": step.done} for step in repairs.steps]
        print_json({"steps": steps, "dry_run": repairs.dry_run, "complete": repairs.complete})
    else:
        _show(repairs, dry_run)
    if not repairs.complete:
        raise typer.Exit(1)


def _instead(mend: str) -> str:
    """What helps where a repair could not."""
    if "luna repair" in mend:
        return (
            "no intact copy of it was found: not in the cache, in git, or in a store that answers"
        )
    return f"a repair leaves this as it is: {mend}"


def _show(repairs: repair.Repairs, dry_run: bool) -> None:
    if not repairs.steps:
        typer.echo("nothing to mend")
        return
    for step in repairs.steps:
        state = ("would mend" if dry_run else "mended") if step.done else "CANNOT MEND"
        how = step.done or _instead(step.finding.mend)
        typer.echo(printable(f"{state}  {step.finding.sentence}\n        {how}"))
    mended = sum(step.done is not None for step in repairs.steps)
    typer.echo(f"{mended} of {len(repairs.steps)} {'could be ' if dry_run else ''}mended")
