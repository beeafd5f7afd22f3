"""The command `luna serve`; the work is in sharing/serve.py."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import repository_root, say, settings_of
from luna.sharing import serve


def command(
    generation: Annotated[
        str,
        typer.Argument(help="Checked at the start only; each request names its own model."),
    ] = "HEAD",
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; the default is this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="LUNA_API_KEY", help="Ask clients for this key."),
    ] = None,
) -> None:
    """Serve the generations to programs that speak OpenAI's API.

    The address is http://HOST:PORT/v1. The model Luna-GHEAD is always the current best: within two
    seconds after the head moves, new requests go to the new one, and answers in progress finish on the
    old. Each generation also has its own name as a model. Answers are greedy. Requests above a million
    bytes, or more than 32 at a time, are refused.
    """
    root = repository_root()
    serve.serve(
        root,
        settings_of(root).line.prefix,
        generation,
        host,
        port,
        api_key,
        lambda head, at: say(f"{head} at http://{host}:{at}/v1 (Ctrl-C ends)"),
    )
