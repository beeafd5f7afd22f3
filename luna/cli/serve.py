"""The command `luna serve`; the work is in sharing/serve.py."""

from __future__ import annotations

from typing import Annotated

import typer

from luna.cli.common import repository_root, say, settings_of
from luna.params import LEAST_CONTEXT
from luna.sharing import serve
from luna.sharing.serve import Address
from luna.sharing.server.servers import Settings


def command(
    generation: Annotated[
        str,
        typer.Argument(
            help="Loaded at the start, beside the current best; each request names its own model."
        ),
    ] = "HEAD",
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; the default is this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="LUNA_API_KEY",
            help="Ask clients for this key. Needed where --host is not this machine alone.",
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=LEAST_CONTEXT,
            help="Tokens of a conversation and its answer. Default: serve.context of params.yaml, which as shipped is what the model was made for, as far as a quarter of the free memory goes.",
        ),
    ] = None,
    parallel: Annotated[
        int,
        typer.Option(
            "--parallel", min=1, max=256, help="Answers written at the same time; others wait."
        ),
    ] = Settings.parallel,
    models: Annotated[
        int,
        typer.Option("--models", min=1, help="Generations that are loaded at the same time."),
    ] = Settings.most,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            "--alias", help="Another name for the current best, for a program that knows only one."
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin",
            help="A page's origin, such as https://example.org, that may ask from a browser.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            help="Another name by which a browser on this machine may call the server.",
        ),
    ] = None,
) -> None:
    """Serve the generations to programs that speak OpenAI's API.

    The address is http://HOST:PORT/v1. The model Luna-GHEAD is always the current best: within two
    seconds after the head moves, new requests go to the new one, and answers in progress finish on the
    old. Each generation also has its own name as a model. llama.cpp's own server answers: sampling,
    stop, seed, n, logprobs, JSON schemas, tools, streaming, completions, embeddings and metrics are
    its. Where a request does not say otherwise, the answer is greedy, and begins under the system
    prompt that the generation was taught under. What is not known is refused.
    """
    root = repository_root()
    settings = settings_of(root)
    if context is None and settings.serve.context != "auto":
        context = settings.serve.context
    serve.serve(
        root,
        settings.line.prefix,
        generation,
        Address(host, port, api_key, tuple(allow_host or ()), tuple(cors_origin or ())),
        Settings(models, parallel, context, frozenset(alias or ())),
        lambda head, at: say(f"{head} at http://{host}:{at}/v1 (Ctrl-C ends)"),
    )
