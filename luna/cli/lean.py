"""Commands that make a generation again, or keep less of it: rebuild, thin, reproduce."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import Json, line_of, print_json, root, say, settings_of


def register(app: typer.Typer) -> None:
    app.command()(rebuild)
    app.command()(thin)
    app.command()(reproduce)


def rebuild(
    generation: Annotated[
        str, typer.Argument(help="The generation to make again: G003, 3, the full name, or HEAD.")
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only find out whether it comes out bit for bit; keep nothing."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            file_okay=False,
            help="Where to put weights/ and model.gguf (default: .luna/rebuilt/NAME).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a generation's 16-bit weights and model.gguf again, from the base and the adapters on its line.

    Nothing is trained. What this clone lacks comes from cold storage; the converter and llama.cpp are
    the recorded ones, fetched by their pinned hash where this environment has others. The result is
    compared with the ledger by SHA-256: exit code 1, and every tensor that differs, when it is not
    the same. History, cache and workspace are not changed.
    """
    from luna import artifacts
    from luna.operations import rebuild as again

    place = root()
    line = line_of(place)
    name = line.resolve(generation)
    with again.scratch_folder(place) as scratch:
        done = again.rebuild(place, line, name, scratch, lambda text: say(f"rebuild: {text}"))
        target = None
        if not check:
            target = out or place / artifacts.SCRATCH / "rebuilt" / name
            shutil.rmtree(target / "weights", ignore_errors=True)
            shutil.copytree(done.weights, target / "weights")
            shutil.copyfile(done.model, target / artifacts.MODEL.name)
    if as_json:
        print_json(
            {
                "name": name,
                "same": done.same,
                "sha256": done.sha256,
                "expected": done.expected,
                "tools": done.tools,
                "seconds": round(done.seconds, 2),
                "out": str(target) if target else None,
                "differences": [asdict(item) for item in done.differences],
            }
        )
    else:
        if done.same:
            typer.echo(
                f"{name}: model.gguf comes out bit for bit, SHA-256 {done.sha256[:12]} as in the ledger ({done.seconds:.1f} s)"
            )
        else:
            typer.echo(
                f"{name}: rebuilt SHA-256 {done.sha256[:12]}, the ledger says {done.expected[:12]}: NOT the same"
            )
            for item in done.differences:
                typer.echo(f"  {item.what}: {item.how}")
        if target:
            typer.echo(f"written to {target}")
    if not done.same:
        raise typer.Exit(1)


def thin(
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what would be done, and how many bytes that is."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make cold storage follow 'cold.keep' in params.yaml: drop the GGUF files that can be made again.

    Every remote of 'cold.remotes' follows it. Generations outside the rule keep base, adapter, data and
    every small file. A GGUF is dropped from a store only after all that it is rebuilt from was read back
    from that store and the rebuilt file was found to be the recorded one, bit for bit, in this very run;
    a record stays in the store and in attestations/.
    'luna restore GEN' makes it again. A generation that came into the rule gets its GGUF back. Exit
    code 1 when a generation could not be proven; it is left as it is.
    """
    from luna.operations import thin as history
    from luna.repo.lock import exclusive

    place = root()
    with exclusive(place, "thin"):
        steps = history.thin(place, say, dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "steps": [asdict(step) for step in steps]})
    else:
        keep = settings_of(place).cold.keep
        if not steps:
            typer.echo(f"Cold storage follows the rule already (cold.keep: {keep}).")
        for step in steps:
            typer.echo(
                f"{step.generation} in '{step.store}': {step.action}{f', {step.why}' if step.why else ''} ({step.bytes / 1e6:.1f} MB)"
            )
            for item in step.differences:
                typer.echo(f"  {item.what}: {item.how}")
        saved = sum(step.bytes for step in steps if step.action == history.DROPPED)
        if saved:
            typer.echo(
                f"{saved / 1e6:.1f} MB {'would leave' if dry_run else 'left'} cold storage (cold.keep: {keep})"
            )
    if any(step.action == history.REFUSED for step in steps):
        raise typer.Exit(1)


def reproduce(
    generation: Annotated[
        str, typer.Argument(help="The generation to train again: G003, 3, the full name, or HEAD.")
    ],
    as_json: Json = False,
) -> None:
    """Train a generation again from its tag, in a scratch clone, and compare what comes out.

    Code, parameters and data are those of the tag. On the same kind of device and with the same
    packages it must be the same bit for bit; on another, the scores must lie within the recorded
    intervals. The verdict is committed as an in-toto statement in attestations/, never in the sealed
    generation. Exit code 1 when it does not hold. It takes as long as training did.
    """
    from luna.operations import reproduce as again
    from luna.repo.lock import exclusive

    place = root()
    name = line_of(place).resolve(generation)
    done = again.reproduce(place, name, lambda text: say(f"reproduce: {text}"))
    with exclusive(place, "reproduce"):
        path = again.record(place, done)
    if as_json:
        print_json(asdict(done) | {"holds": done.holds, "statement": path.as_posix()})
    else:
        kind = (
            "the same kind of device and the same packages"
            if done.same_kind
            else "another device or other packages"
        )
        typer.echo(f"{name}: {done.verdict}, on {kind}")
        for out, equal in done.same.items():
            typer.echo(f"  {out}: {'the same bytes' if equal else 'other bytes'}")
        for clause, row in done.scores.items():
            typer.echo(
                f"  {clause.replace('_', ' ')}: recorded {row['recorded']} ({row['low']} to {row['high']}), now {row['found']}"
            )
        typer.echo(f"recorded in {path}")
    if not done.holds:
        raise typer.Exit(1)
