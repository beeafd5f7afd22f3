"""Commands that talk to people and their tools: chat, serve."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from luna import params
from luna.cli.common import root, say


def register(app: typer.Typer) -> None:
    app.command()(chat)


def chat(
    generation: Annotated[str, typer.Argument(help="The generation to talk to: G003, 3, the full name, or HEAD for the current best.")] = "HEAD",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 256,
) -> None:
    """Talk to a generation in the terminal; what you say about its answers is what the next one learns.

    /good keeps the conversation so far, /bad CORRECTION keeps it with the last answer put right: both go
    to data/inbox, from where the next 'luna evolve' takes them. /gen G002 switches, /compare G002 G003
    lets both answer the last question, /new begins again, /quit leaves. Lines may also be piped in.
    """
    from luna.answering.chat import HELP, Chat
    from luna.errors import LunaError

    place = root()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    talk = Chat(place, params.load(place).line.prefix, generation, max_tokens, write)
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
