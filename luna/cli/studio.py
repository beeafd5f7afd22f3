"""The command `luna studio`; the work is in studio/."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import repository_root, say, settings_of
from luna.studio import run


def command(
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="Port of this machine to listen on; 0 takes a free one.",
        ),
    ] = run.PORT,
    opens: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Talk, compare, grow and look back on one local page.

    The page talks to any generation, keeps your corrections for the next one, lays answers side by side,
    imports files, grows a generation while you watch, and shows the line, its differences and the way
    back. Whatever it does is one of the other commands, under the same lock. Only this machine can
    reach it, and only with the token in the address that is printed here. Ctrl-C ends it, and whatever it
    has started. For programs that speak OpenAI's API there is 'luna serve'.
    """
    root = repository_root()
    run.studio(
        root,
        settings_of(root).line.prefix,
        port,
        opens,
        lambda address: say(f"Luna at {address} (Ctrl-C ends)"),
    )
