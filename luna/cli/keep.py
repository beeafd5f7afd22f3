"""Commands that keep history safe, and free space safely: bundle."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna import params
from luna.cli.common import Json, print_json, root, say


def register(app: typer.Typer) -> None:
    app.command()(bundle)


def bundle(
    generation: Annotated[str | None, typer.Argument(help="The generation to bundle: G003, 3, the full name, or HEAD.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write (default: NAME.zip here). Nothing is overwritten.")] = None,
    check: Annotated[Path | None, typer.Option("--check", help="Check this bundle instead: every byte, without git or DVC.")] = None,
    as_json: Json = False,
) -> None:
    """Write a generation as one zip file with SHA-256 of everything in it, or check such a file.

    The artifact set, the ledger up to then, the tag's text, and check.py, which needs nothing but
    Python: python check.py FILE. The same generation gives the same bytes. Both files written are
    read-only. Exit code 1 when a checked bundle is damaged or forged.
    """
    from luna.cli.progress import in_bytes
    from luna.errors import InputError, Refused

    if (generation is None) == (check is None):
        raise InputError("Say what to bundle ('luna bundle G003') or what to check ('luna bundle --check FILE').")
    if check is not None:
        if output is not None:
            raise InputError("--output belongs to writing a bundle: leave it out with --check.")
        from luna.bundle import check as checker

        if not check.is_file():
            raise InputError(f"There is no file {check}: give the path of a bundle.")
        report = checker.check(str(check))
        if as_json:
            print_json(asdict(report))
        elif not report.problems:
            typer.echo(f"{report.generation}: {report.files} files, {report.bytes} bytes, all as they were bundled")
        for problem in report.problems[:-1]:
            say(f"luna: {problem}")
        if report.problems:
            raise Refused(report.problems[-1])
        return
    from luna.bundle.make import bundle as write
    from luna.history.line import read_line
    from luna.history.lock import exclusive

    place = root()
    with exclusive(place, "bundle"), in_bytes("bundling", as_json) as progress:
        line = read_line(place, params.load(place).line.prefix)
        name = line.resolve(generation)
        done = write(line, name, output or Path(f"{name}.zip"), progress)
    if as_json:
        print_json(done)
    else:
        typer.echo(f"{done.file}: {'written' if done.created else 'was there already, whole'}, {done.bytes} bytes, SHA-256 {done.sha256[:12]}")
