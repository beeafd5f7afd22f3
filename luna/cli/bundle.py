"""The command `luna bundle`; the work is in bundle/make.py and bundle/check.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna.bundle import check as checker
from luna.bundle import make
from luna.cli.common import GENERATION, Json, line_of, print_json, repository_root, say
from luna.cli.progress import in_bytes
from luna.errors import InputError, Refused
from luna.repo.lock import exclusive


def command(
    generation: Annotated[
        str | None,
        typer.Argument(help=f"The generation to bundle: {GENERATION}."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write (default: NAME.zip here). Nothing is overwritten.",
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Check this bundle instead: every byte, without git or DVC."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a generation as one zip file, or check such a file.

    It holds the artifact set, the ledger up to that generation, git's tag, commit and trees, the SHA-256
    of every file, and check.py, which needs nothing but Python: python check.py FILE. The check proves
    that every file belongs to the tag, and prints the tag's id, to compare with a clone. The same
    generation always gives the same bytes. The zip and its .sha256 are read-only. Exit code 1 when a
    checked bundle is damaged or forged. A bundle is whole, so it holds the conversations that were
    taught, the probes and the answers: 'luna export' gives the model without them.
    """
    if check is not None and generation is None:
        if output is not None:
            raise InputError("--output belongs to writing a bundle: leave it out with --check.")
        _check(check, as_json)
    elif generation is not None and check is None:
        _write(generation, output, as_json)
    else:
        raise InputError(
            "Say what to bundle ('luna bundle G003') or what to check ('luna bundle --check FILE')."
        )


def _check(file: Path, as_json: bool) -> None:
    if not file.is_file():
        raise InputError(f"There is no file {file}: give the path of a bundle.")
    report = checker.check(str(file))
    if as_json:
        print_json(asdict(report))
    elif not report.problems:
        typer.echo(
            f"{report.generation}: {report.files} files, {report.bytes} bytes, "
            "all as they were bundled"
        )
        typer.echo(report.proof)
    for problem in report.problems[:-1]:
        say(f"luna: {problem}")
    if report.problems:
        raise Refused(report.problems[-1])


def _write(generation: str, output: Path | None, as_json: bool) -> None:
    root = repository_root()
    with exclusive(root, "bundle"), in_bytes("bundling", as_json) as progress:
        line = line_of(root)
        name = line.resolve(generation)
        written = make.bundle(line, name, output or Path(f"{name}.zip"), progress)
    if as_json:
        print_json(written)
    else:
        state = "written" if written.created else "was there already, whole"
        typer.echo(f"{written.file}: {state}, {written.bytes} bytes, SHA-256 {written.sha256[:12]}")
        say("It holds the conversations that were taught; 'luna export' gives the model alone.")
