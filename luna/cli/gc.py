"""The command `luna gc`; the work is in operations/gc.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from luna.cli.common import Json, line_of, print_json, repository_root
from luna.cli.progress import in_bytes
from luna.errors import InputError, Refused
from luna.operations import gc
from luna.operations.gate import changing


def command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be deleted, and how many bytes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it.")] = False,
    as_json: Json = False,
) -> None:
    """Free space in this clone's cache; cold storage is never touched.

    It keeps what is checked out, the current best, an unfinished build, what the next build reads of its
    ancestors, and GGUF files that 'luna thin' removed from cold storage. Each other object is deleted only
    after this run has read it back from cold storage and checked its hash. 'luna restore GEN' or 'dvc pull'
    brings it back. Exit code 1 when an object could not be read back and so was kept.
    """
    if not dry_run and not yes:
        raise InputError("Give --dry-run to see what would be deleted, or --yes to delete it.")
    root = repository_root()
    with changing(root, "gc"), in_bytes("reading back", as_json) as progress:
        line = line_of(root)
        plan = gc.plan(line)
        freed = None if dry_run else gc.free(line, plan, progress)
    if as_json:
        would_go = {
            "objects": len(plan.objects),
            "bytes": plan.bytes,
            "generations": plan.generations,
            "kept_bytes": plan.kept_bytes,
            "lean_bytes": plan.lean_bytes,
            "unknown_bytes": plan.unknown_bytes,
        }
        print_json({"would_go": would_go, "freed": asdict(freed) if freed else None})
    else:
        _show(plan, freed)
    if freed and freed.refused:
        raise Refused(
            f"{len(freed.refused)} objects were kept, because cold storage did not give them back: "
            f"{freed.refused[0]} See 'luna verify --all --remote'."
        )


def _show(plan: gc.Plan, freed: gc.Freed | None) -> None:
    typer.echo(
        f"{'To go' if freed else 'Would go'}: {len(plan.objects)} objects, "
        f"{plan.bytes / 1e6:.1f} MB, of {', '.join(plan.generations) or 'no generation'}"
    )
    kept = f"Kept: {plan.kept_bytes / 1e6:.1f} MB in use"
    if plan.lean_bytes:
        kept += (
            f", {plan.lean_bytes / 1e6:.1f} MB that cold storage holds only as base and adapters "
            "(luna thin)"
        )
    if plan.unknown_bytes:
        kept += f", {plan.unknown_bytes / 1e6:.1f} MB that no sealed generation names"
    typer.echo(kept)
    if freed:
        typer.echo(
            f"Freed: {freed.objects} objects, {freed.bytes / 1e6:.1f} MB; "
            "'luna restore GEN' brings them back"
        )
