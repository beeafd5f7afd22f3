"""Commands that keep history safe, and free space safely: archive, bundle, gc."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import Json, line_of, print_json, root, say


def register(app: typer.Typer) -> None:
    app.command()(archive)
    app.command()(bundle)
    app.command()(gc)


def archive(
    generations: Annotated[
        list[str] | None, typer.Argument(help="Generations to archive: G003, 3, full names, HEAD.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Archive every sealed generation, and every snapshot.")
    ] = False,
    remote: Annotated[
        str | None,
        typer.Option("--remote", help="Only into this DVC remote (default: all of cold storage)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring sealed generations into cold storage, and read every byte back.

    For a remote that was added later, or that was away when a generation was sealed. The remote is the
    one that this clone's configuration names now, whatever an old tag says. What is there already is
    not uploaded again, so a run that was cut off goes on; nothing in a store is ever deleted.
    """
    from luna.cli.progress import in_bytes
    from luna.errors import InputError
    from luna.operations import archive as history
    from luna.repo.lock import exclusive
    from luna.storage import cold

    if bool(generations) == everything:
        raise InputError(
            "Say which generations ('luna archive G001 G003'), or all of them ('luna archive --all')."
        )
    place = root()
    with exclusive(place, "archive"), in_bytes("reading back", as_json) as progress:
        line = line_of(place)
        names = (
            [*line.names, *line.snapshots]
            if everything
            else sorted({line.resolve(given) for given in generations or []}, key=line.names.index)
        )
        done = history.archive(
            line,
            names,
            cold.open_all(place) if remote is None else [cold.open_store(place, remote)],
            progress,
        )
    if as_json:
        print_json([asdict(item) for item in done])
        return
    for item in done:
        left = f", {item.thinned} left out by cold.keep" if item.thinned else ""
        typer.echo(
            f"{item.name}: whole in '{item.store}', {item.objects} objects read back, {item.uploaded} uploaded{left}"
        )


def bundle(
    generation: Annotated[
        str | None,
        typer.Argument(help="The generation to bundle: G003, 3, the full name, or HEAD."),
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
    """Write a generation as one zip file with SHA-256 of everything in it, or check such a file.

    The artifact set, the ledger up to then, the tag's text, and check.py, which needs nothing but
    Python: python check.py FILE. The same generation gives the same bytes. Both files written are
    read-only. Exit code 1 when a checked bundle is damaged or forged.
    """
    from luna.cli.progress import in_bytes
    from luna.errors import InputError, Refused

    if (generation is None) == (check is None):
        raise InputError(
            "Say what to bundle ('luna bundle G003') or what to check ('luna bundle --check FILE')."
        )
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
            typer.echo(
                f"{report.generation}: {report.files} files, {report.bytes} bytes, all as they were bundled\n{report.proof}"
            )
        for problem in report.problems[:-1]:
            say(f"luna: {problem}")
        if report.problems:
            raise Refused(report.problems[-1])
        return
    from luna.bundle.make import bundle as write
    from luna.repo.lock import exclusive

    place = root()
    with exclusive(place, "bundle"), in_bytes("bundling", as_json) as progress:
        line = line_of(place)
        name = line.resolve(generation)
        done = write(line, name, output or Path(f"{name}.zip"), progress)
    if as_json:
        print_json(done)
    else:
        typer.echo(
            f"{done.file}: {'written' if done.created else 'was there already, whole'}, {done.bytes} bytes, SHA-256 {done.sha256[:12]}"
        )


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go, and how many bytes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Free it without being asked.")] = False,
    as_json: Json = False,
) -> None:
    """Free space in this clone's cache; cold storage is never touched.

    Kept: what is checked out, the current best, a build that is pending, what the next build reads of
    its ancestors, and a GGUF of which cold storage holds base and adapters alone ('luna thin'). Anything
    else goes only after cold storage has given it back whole in this very run; 'luna restore GEN' or
    'dvc pull' brings it back. Exit code 1 when something had to stay.
    """
    from luna.cli.progress import in_bytes
    from luna.errors import InputError, Refused
    from luna.operations import gc as history
    from luna.repo.lock import exclusive

    if not dry_run and not yes:
        raise InputError("Say --dry-run to see what would go, or --yes to free it.")
    place = root()
    with exclusive(place, "gc"), in_bytes("reading back", as_json) as progress:
        line = line_of(place)
        found = history.plan(line)
        freed = None if dry_run else history.free(line, found, progress)
    shown = {
        "objects": len(found.objects),
        "bytes": found.bytes,
        "generations": found.generations,
        "kept_bytes": found.kept_bytes,
        "lean_bytes": found.lean_bytes,
        "unknown_bytes": found.unknown_bytes,
    }
    if as_json:
        print_json({"would_go": shown, "freed": asdict(freed) if freed else None})
    else:
        typer.echo(
            f"{'Would go' if dry_run else 'To go'}: {len(found.objects)} objects, {found.bytes / 1e6:.1f} MB, of {', '.join(found.generations) or 'no generation'}"
        )
        lean = (
            f", {found.lean_bytes / 1e6:.1f} MB of which cold storage holds base and adapters alone (luna thin)"
            if found.lean_bytes
            else ""
        )
        typer.echo(
            f"Kept: {found.kept_bytes / 1e6:.1f} MB in use{lean}"
            + (
                f", {found.unknown_bytes / 1e6:.1f} MB that no sealed generation names"
                if found.unknown_bytes
                else ""
            )
        )
        if freed:
            typer.echo(
                f"Freed: {freed.objects} objects, {freed.bytes / 1e6:.1f} MB; 'luna restore GEN' brings them back"
            )
    if freed and freed.refused:
        raise Refused(
            f"{len(freed.refused)} objects stay, since cold storage did not give them back: {freed.refused[0]} See 'luna verify --all --remote'."
        )
