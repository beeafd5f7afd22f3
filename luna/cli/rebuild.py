"""The command `luna rebuild`; the work is in operations/rebuild.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna import artifacts
from luna.cli.common import GENERATION, Json, line_of, print_json, repository_root, say
from luna.operations import rebuild


def command(
    generation: Annotated[str, typer.Argument(help=f"The generation to make again: {GENERATION}.")],
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only compare the result with the recorded file; keep nothing."
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
    """Make a generation's model again from the base and its adapters.

    It merges the base and the adapters on the generation's line into 16-bit weights and model.gguf;
    nothing is trained. Files that this clone lacks come from cold storage. The converter and llama.cpp
    are the recorded versions; if this environment has others, they are fetched by their pinned hash. The
    SHA-256 of the result is compared with the ledger: when it differs, every tensor that differs is
    listed, and the exit code is 1. History, cache and workspace are not changed.
    """
    root = repository_root()
    line = line_of(root)
    name = line.resolve(generation)
    target = None if check else out or root / artifacts.SCRATCH / "rebuilt" / name
    with rebuild.scratch_folder(root) as scratch:
        rebuilt = rebuild.rebuild(root, line, name, scratch, lambda text: say(f"rebuild: {text}"))
        if target:
            rebuild.copy_out(rebuilt, target)
    if as_json:
        print_json(
            {
                "name": name,
                "same": rebuilt.same,
                "sha256": rebuilt.sha256,
                "expected": rebuilt.expected,
                "tools": rebuilt.tools,
                "seconds": round(rebuilt.seconds, 2),
                "out": str(target) if target else None,
                "differences": [asdict(item) for item in rebuilt.differences],
            }
        )
    else:
        _show(rebuilt)
        if target:
            typer.echo(f"written to {target}")
    if not rebuilt.same:
        raise typer.Exit(1)


def _show(rebuilt: rebuild.Rebuilt) -> None:
    if rebuilt.same:
        typer.echo(
            f"{rebuilt.name}: model.gguf comes out bit for bit, SHA-256 {rebuilt.sha256[:12]} as in "
            f"the ledger ({rebuilt.seconds:.1f} s)"
        )
        return
    typer.echo(
        f"{rebuilt.name}: rebuilt SHA-256 {rebuilt.sha256[:12]}, the ledger says "
        f"{rebuilt.expected[:12]}: NOT the same"
    )
    for item in rebuilt.differences:
        typer.echo(f"  {item.what}: {item.how}")
