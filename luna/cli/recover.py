"""The command `luna recover`; the work is in operations/recover.py and bundle/unpack.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna.bundle import unpack
from luna.cli.common import Json, print_json, say
from luna.operations import recover
from luna.operations.recover import Recovered


def command(
    store: Annotated[
        str,
        typer.Argument(
            help="Cold storage: its folder, or an s3:// URL; or a bundle that 'luna bundle' wrote."
        ),
    ],
    folder: Annotated[
        Path, typer.Argument(help="The folder to make; it must be new or empty.")
    ] = Path("luna"),
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="For s3://: a server other than Amazon's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a whole clone from cold storage alone.

    Use it when the clone is lost, or on another machine. It brings back git's history, tags, the record,
    the configuration and the models; no git remote is needed. Credentials for S3 come from AWS's usual
    places. If it is killed, run it again: it resumes. From a bundle it takes the files of its one
    generation, each checked. Exit code 1 when the store lacks something; what is missing is named.
    """
    if "://" not in store and Path(store).expanduser().is_file():
        unpacked = unpack.unpack(Path(store).expanduser(), folder)
        if as_json:
            print_json(unpacked)
            return
        typer.echo(
            f"{unpacked.folder}: {unpacked.files} files of {unpacked.generation}, each as it was bundled. {unpacked.proof}"
        )
        typer.echo(
            "A bundle holds one generation, not its line: no history, no base, no conversations of other generations."
        )
        return
    done = recover.recover(store, folder, endpoint, lambda step: say(f"recover: {step}"))
    if as_json:
        print_json(asdict(done))
    else:
        _tell(done)
    if done.missing:
        raise typer.Exit(1)


def _tell(done: Recovered) -> None:
    for sentence in done.missing:
        say(f"luna: not recovered: {sentence}")
    beside = f" and {done.snapshots} snapshots" if done.snapshots else ""
    typer.echo(
        f"{done.folder}: {done.generations} generations{beside} from {done.source}, on branch '{done.branch}'; the head is {done.head or 'not set yet'}"
    )
    typer.echo(
        f"The cold storage is set up as '{done.remote}'. A git remote, and 'git config' of your own, are not part of it."
    )
    typer.echo(f"Next: cd {done.folder}, then 'luna verify --all --remote'")
