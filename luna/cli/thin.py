"""The command `luna thin`; the work is in operations/thin.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from luna.cli.common import Json, print_json, repository_root, say, settings_of
from luna.operations import thin
from luna.operations.gate import changing


def command(
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show what would be done, and how many bytes that is."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Drop GGUF files from cold storage that can be rebuilt.

    'cold.keep' in params.yaml says whose GGUF stays, in every remote of 'cold.remotes'. The other
    generations keep base, adapter, data and every small file. A GGUF is dropped from a store only after
    this run has read back from that store everything that it is rebuilt from, and has rebuilt the recorded
    file bit for bit. A note stays in the store and in attestations/. 'luna restore GEN' makes the file
    again. A generation that the rule includes again gets its GGUF back. Exit code 1 when a generation
    could not be rebuilt; it is left as it is.
    """
    root = repository_root()
    with changing(root, "thin"):
        steps = thin.thin(root, say, dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "steps": [asdict(step) for step in steps]})
    else:
        _show(steps, settings_of(root).cold.keep, dry_run)
    if any(step.action == thin.REFUSED for step in steps):
        raise typer.Exit(1)


def _show(steps: list[thin.ThinStep], rule: object, dry_run: bool) -> None:
    if not steps:
        typer.echo(f"Cold storage follows the rule already (cold.keep: {rule}).")
    for step in steps:
        why = f", {step.why}" if step.why else ""
        typer.echo(
            f"{step.generation} in '{step.store}': {step.action}{why} ({step.bytes / 1e6:.1f} MB)"
        )
        for item in step.differences:
            typer.echo(f"  {item.what}: {item.how}")
    saved = sum(step.bytes for step in steps if step.action == thin.DROPPED)
    if saved:
        verb = "would leave" if dry_run else "left"
        typer.echo(f"{saved / 1e6:.1f} MB {verb} cold storage (cold.keep: {rule})")
