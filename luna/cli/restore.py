"""The command `luna restore`; the work is in operations/restore.py."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import GENERATION, Json, line_of, print_json, repository_root, say
from luna.operations import restore
from luna.repo.lock import exclusive


def command(
    generation: Annotated[str, typer.Argument(help=f"The generation to bring back: {GENERATION}.")],
    as_json: Json = False,
) -> None:
    """Bring a generation's files back into the cache, each one checked.

    The bytes come from cold storage. A model.gguf that cold storage does not hold (see 'luna thin') is
    rebuilt from base and adapters, and used only when it is the recorded file bit for bit. The workspace
    is not touched; afterwards 'git checkout TAG' shows the generation.
    """
    root = repository_root()
    with exclusive(root, "restore"):
        name = line_of(root).resolve(generation)
        fetched = restore.restore(root, name, lambda text: say(f"restore: {text}"))
    if as_json:
        print_json({"name": name, "fetched": fetched})
    else:
        typer.echo(
            f"{name} is whole in the cache ({fetched} objects came from cold storage or were "
            f"rebuilt). Next: git checkout {name}"
        )
