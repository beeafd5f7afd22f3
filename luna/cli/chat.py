"""The command `luna chat`; the work is in sharing/chat.py."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from luna.cli.common import printable, repository_root, say, settings_of
from luna.errors import LunaError
from luna.sharing.chat import HELP, Chat


def command(
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
    """Talk to a generation in the terminal, and correct it.

    The next generation learns what you mark here. /good saves the conversation so far, /bad CORRECTION
    saves it with the last answer corrected: both go to data/inbox, and the next 'luna evolve' learns
    them. /gen G002 switches to that generation, /compare G002 G003 lets both answer the last question,
    /new starts a new conversation, /quit leaves. You can also pipe lines in.
    """
    root = repository_root()
    talk = Chat(root, settings_of(root).line.prefix, generation, max_tokens, _write)
    last_error: LunaError | None = None
    try:
        say(f"{talk.name}. {HELP}")
        for line in _lines():
            try:
                if not talk.say(line):
                    break
            except LunaError as error:
                say(f"luna: {error}")
                last_error = error
    finally:
        talk.close()
    if last_error and not _is_typed():
        raise typer.Exit(last_error.exit_code)


def _write(text: str) -> None:
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def _is_typed() -> bool:
    """Whether a person types; standard input may also be a pipe, a file, or closed (then it is None)."""
    return sys.stdin is not None and sys.stdin.isatty()


def _lines() -> Iterator[str]:
    """What the person types, or what is piped in; bytes that are no UTF-8 come as lone surrogates."""
    if not _is_typed():
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
            yield from sys.stdin
        return
    from prompt_toolkit import PromptSession  # not needed where lines are piped in

    session: PromptSession[str] = PromptSession()
    while True:
        try:
            yield session.prompt("> ")
        except (EOFError, KeyboardInterrupt):
            return
