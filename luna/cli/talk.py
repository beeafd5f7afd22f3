"""Commands that talk to people and their tools: chat, serve, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import root, say, settings_of


def register(app: typer.Typer) -> None:
    app.command()(chat)
    app.command()(serve)
    app.command()(export)


def chat(
    generation: Annotated[
        str,
        typer.Argument(
            help="The generation to talk to: G003, 3, the full name, or HEAD for the current best."
        ),
    ] = "HEAD",
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")
    ] = 256,
) -> None:
    """Talk to a generation in the terminal; what you say about its answers is what the next one learns.

    /good keeps the conversation so far, /bad CORRECTION keeps it with the last answer put right: both go
    to data/inbox, from where the next 'luna evolve' takes them. /gen G002 switches, /compare G002 G003
    lets both answer the last question, /new begins again, /quit leaves. Lines may also be piped in.
    """
    from luna.errors import LunaError
    from luna.sharing.chat import HELP, Chat

    place = root()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    talk = Chat(place, settings_of(place).line.prefix, generation, max_tokens, write)
    failed = None
    try:
        say(f"{talk.name}. {HELP}")
        for line in _lines():
            try:
                if not talk.say(line):
                    break
            except LunaError as error:
                say(f"luna: {error}")
                failed = error
    finally:
        talk.close()
    if failed and not sys.stdin.isatty():
        raise typer.Exit(failed.exit_code)


def _lines():
    """What the person types, or what is piped in."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    from prompt_toolkit import PromptSession

    session = PromptSession()
    while True:
        try:
            yield session.prompt("> ")
        except (EOFError, KeyboardInterrupt):
            return


def serve(
    generation: Annotated[
        str,
        typer.Argument(help="Only to be checked at the start; each request names its own model."),
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
    """Serve the generations to any program that speaks OpenAI's API, at http://HOST:PORT/v1.

    The model Luna-GHEAD is always the current best: when the head moves, new requests are answered by the
    new one within two seconds, and those under way end on the old. Each generation can also be asked by
    its name. Answers are greedy. Requests above a million bytes, or more than 32 at a time, are refused.
    """
    import socket

    import uvicorn

    from luna.errors import StateError
    from luna.sharing import app as serving
    from luna.sharing.pool import Pool

    place = root()
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        raise StateError(
            f"Port {port} on {host} cannot be listened on ({error.strerror}): give another with --port."
        ) from None
    pool = Pool(place, settings_of(place).line.prefix)
    try:
        pool.release(pool.take(generation))
        say(f"{pool.head} at http://{host}:{listener.getsockname()[1]}/v1 (Ctrl-C ends)")
        uvicorn.Server(uvicorn.Config(serving.make(pool, api_key), log_level="warning")).run(
            sockets=[listener]
        )
    finally:
        pool.close()


def export(
    generation: Annotated[
        str, typer.Argument(help="The generation to give out: G003, 3, the full name, or HEAD.")
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder to write; it must be new or empty.")],
    as_ollama: Annotated[
        bool,
        typer.Option(
            "--ollama",
            help="Add a Modelfile with the model's template and stop token, for 'ollama create'.",
        ),
    ] = False,
    lmstudio: Annotated[
        bool,
        typer.Option(
            "--lmstudio", help="Write publisher/model/file, as LM Studio's models folder wants it."
        ),
    ] = False,
    hf: Annotated[
        bool,
        typer.Option(
            "--hf",
            help="Write 16-bit safetensors, config, tokenizer and card, for Hugging Face's transformers.",
        ),
    ] = False,
    hf_adapter: Annotated[
        bool,
        typer.Option(
            "--hf-adapter",
            help="Write one PEFT adapter on the base that stands for the whole line.",
        ),
    ] = False,
) -> None:
    """Give a generation out as a folder for other tools: model, adapter, tokenizer, reports and hashes.

    The folder appears whole or not at all. History is not changed. With --hf the weights are rebuilt from base
    and adapters, bit for bit as 'luna rebuild' makes them. A generation's own adapter fits its parent's weights
    only; --hf-adapter therefore stacks those of its line, and adds the base where no hub has it.
    """
    from luna.errors import InputError
    from luna.history.line import read_line
    from luna.sharing import folder

    kinds = [
        kind
        for kind, wanted in (
            (folder.OLLAMA, as_ollama),
            (folder.LMSTUDIO, lmstudio),
            (folder.HF, hf),
            (folder.HF_ADAPTER, hf_adapter),
        )
        if wanted
    ]
    if len(kinds) > 1:
        raise InputError(f"Give one of {', '.join('--' + kind for kind in kinds)}, not several.")
    place = root()
    prefix = settings_of(place).line.prefix
    name = read_line(place, prefix).resolve(generation)
    model = folder.export(place, prefix, name, to, kinds[0] if kinds else folder.PLAIN)
    typer.echo(
        f"{name}: {model}"
        + (f". Next: ollama create {prefix.lower()} -f {to / 'Modelfile'}" if as_ollama else "")
    )
