"""The command `luna cold`; the work is in operations/cold.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from luna.cli.common import Json, print_json, repository_root, say
from luna.errors import InputError
from luna.operations import cold
from luna.repo.lock import exclusive


def command(
    place: Annotated[
        str | None,
        typer.Argument(help="A folder, or s3://BUCKET/FOLDER. Left out: what is set is shown."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="The DVC remote to set: a second place beside the first, say 'second'."
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", help="S3: the server's URL, where it is not Amazon's."),
    ] = None,
    region: Annotated[str | None, typer.Option("--region", help="S3: the region.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="S3: a profile of ~/.aws/credentials.")
    ] = None,
    begin_anew: Annotated[
        bool,
        typer.Option(
            "--begin-anew",
            help="The place holds nothing of this line, which has a history: begin it there again.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say where cold storage is, or show what it holds.

    The place is looked at first: it must be empty or hold this line, and it must give back what it is
    given. Then it is written into .dvc/config.local, complete, so that every generation of this clone
    knows it. Nothing is changed when it is refused. Credentials of S3 come from AWS's own conventions
    (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws) and are not written down. Exit code 1 when
    what is set up cannot be used.
    """
    root = repository_root()
    settings = {
        key: value
        for key, value in (("endpointurl", endpoint), ("region", region), ("profile", profile))
        if value
    }
    if place is None:
        if settings or name or begin_anew:
            raise InputError(
                "Say where: 'luna cold /mnt/disk/luna' or 'luna cold s3://BUCKET/FOLDER'."
            )
        places = cold.show(root)
    else:
        with exclusive(root, "cold"):
            places = [cold.set_up(root, place, name, settings, begin_anew)]
    if as_json:
        print_json([asdict(item) for item in places])
    else:
        for item in places:
            typer.echo(f"{item.name}: {item.address}: {item.holds}")
    for item in places:
        if item.begun:
            say(f"'{item.name}' is begun. Next: luna archive --all --remote {item.name}")
    if not all(item.good for item in places):
        raise typer.Exit(1)
