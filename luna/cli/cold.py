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
    path_or_url: Annotated[
        str | None,
        typer.Argument(
            help="A folder, or s3://BUCKET/FOLDER. Without it, the command shows what is set."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="The name of the DVC remote to set; give another name, for example 'second', for a second store.",
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
            help="Use a store that holds nothing, although this line has a history: start its copy there again.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say where cold storage is, or show what it holds.

    The store is checked first: it must be empty or hold this line, and a test file must come back as
    it was written. Then the DVC remote is written into .dvc/config.local, so that it holds for every
    generation in this clone. A refusal changes nothing. Credentials for S3 come from AWS's usual
    places (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws) and are not stored. Exit code 1 when
    a store that is set up cannot be used.
    """
    root = repository_root()
    settings = {
        key: value
        for key, value in (("endpointurl", endpoint), ("region", region), ("profile", profile))
        if value
    }
    if path_or_url is None:
        if settings or name or begin_anew:
            raise InputError(
                "Say where: 'luna cold /mnt/disk/luna' or 'luna cold s3://BUCKET/FOLDER'."
            )
        places = cold.show(root)
    else:
        with exclusive(root, "cold"):
            places = [cold.set_up(root, path_or_url, name, settings, begin_anew)]
    if as_json:
        print_json([asdict(item) for item in places])
    else:
        for item in places:
            typer.echo(f"{item.name}: {item.address}: {item.holds}")
    for item in places:
        if item.begun:
            say(
                f"'{item.name}' is set up. 'luna archive --all --remote {item.name}' brings the line's objects."
            )
    for other in cold.unused(root):
        if path_or_url is None or other.name in [item.name for item in places]:
            say(
                f"'{other.name}' ({other.address}) is not used yet: write 'remotes: [{', '.join(other.remotes)}]' "
                "under 'cold:' in params.yaml, then run 'luna archive --all'."
            )
    if not all(item.good for item in places):
        raise typer.Exit(1)
