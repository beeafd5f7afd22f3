"""The command `luna verify`; the work is in audit/verify.py."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from luna.audit import verify
from luna.audit.problem import Severity
from luna.cli.common import (
    Generations,
    Json,
    print_json,
    printable,
    repository_root,
    say,
    settings_of,
)
from luna.cli.progress import in_lines, in_pieces
from luna.errors import InputError
from luna.history import thinned
from luna.storage import cold


def command(
    generations: Generations = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Read every generation; the same as naming none.")
    ] = False,
    remote: Annotated[
        bool,
        typer.Option(
            "--remote", help="Read every byte in cold storage back as well, in all of its remotes."
        ),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="NAME", help="With --remote: only the DVC remote of this name."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Objects: only whether they exist and how long they are. Tags, ledger and head are "
            "checked as ever.",
        ),
    ] = False,
    progress_lines: Annotated[
        bool,
        typer.Option(
            "--progress",
            help="Write the bytes read so far to standard error as JSON lines, for a program.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that history is intact: tags, ledger, and every byte.

    Tags, head, ledger, artifact sets and snapshots are checked, and every byte by its hash. Nothing is
    changed. Each finding names what is wrong, where, and the command that mends it.
    Exit code 0 when all is intact, 1 when there are findings, 2 for a mistake in the call.
    """
    if everything and generations:
        raise InputError("Name generations or give --all, not both.")
    root = repository_root()
    settings = settings_of(root)
    prefix = settings.line.prefix
    with in_lines() if progress_lines else in_pieces("reading", as_json) as progress:
        if store is not None:
            stores = [cold.open_store(root, store)]
        else:
            stores = cold.open_all(root) if remote else []
        report = verify.verify(
            root,
            prefix,
            settings.generation.name,
            generations or (),
            stores,
            quick,
            progress,
            thinned.everywhere(root, prefix, stores),
        )
    if as_json:
        findings = [finding.as_json() for finding in report.findings]
        rest = asdict(replace(report, findings=[]))
        print_json(rest | {"findings": findings, "clean": report.clean})
    else:
        _show(report)
    if not report.clean:
        raise typer.Exit(1)


def _show(report: verify.Report) -> None:
    for finding in report.findings:
        mark = "note  " if finding.severity is Severity.NOTE else "DAMAGE"
        typer.echo(printable(f"{mark}  {finding.sentence}\n        mend: {finding.mend}"))
    for row in report.sealed_by:
        if row["signer"]:
            typer.echo(f"{row['generation']}: sealed by {row['tagger']}, signed by {row['signer']}")
    extent = (
        f"{report.objects} objects looked at"
        if report.quick
        else f"{report.objects} objects, {report.bytes_read / 1e6:,.1f} MB read"
    )
    damage = sum(finding.severity is Severity.DAMAGE for finding in report.findings)
    snapshots = f" and {len(report.snapshots)} snapshots" if report.snapshots else ""
    typer.echo(
        f"{len(report.generations)} generations{snapshots} in {', '.join(report.places)}: "
        f"{extent}: {'whole' if report.clean else _damaged(damage)}"
    )
    if not report.clean:
        say("next: luna repair --dry-run")


def _damaged(count: int) -> str:
    return f"{count} {'case' if count == 1 else 'cases'} of damage found"
