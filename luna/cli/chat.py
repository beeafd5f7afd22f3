"""The command `luna chat`; the work is in sharing/chat.py."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luna import artifacts
from luna.cli.common import printable, repository_root, say, settings_of
from luna.errors import LunaError
from luna.sharing.chat import HELP, Chat, messages

if TYPE_CHECKING:
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

_HISTORY = artifacts.SCRATCH / "chat-history"


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
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            min=0.0,
            max=2.0,
            help="0: always the likeliest words, as in the exam; above: answers differ, more and more.",
        ),
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="With the same seed the same answers come at a temperature."),
    ] = None,
) -> None:
    """Talk to a generation in the terminal, and correct it.

    The next generation learns what you mark here. /good saves the conversation so far, /bad CORRECTION
    saves it with the last answer corrected, /undo takes that back: they go to data/inbox, and the next
    'luna evolve' learns them. /help lists the rest. Ctrl-C stops an answer, Ctrl-D leaves. Three
    quotation marks begin and end a message of several lines. You can also pipe lines in.
    """
    root = repository_root()
    talk = _Talk(
        root, settings_of(root).line.prefix, generation, max_tokens, _write, say, temperature, seed
    )
    last_error: LunaError | None = None
    try:
        say(f"{talk.name}. {HELP}")
        for line in messages(_lines(root)):
            try:
                if not talk.say(line):
                    break
            except LunaError as error:
                say(f"luna: {error}")
                last_error = error
            except KeyboardInterrupt:  # while it was loading or thinking; a pipe is left by it
                if not _is_typed():
                    raise
                say("(stopped)")
    finally:
        talk.close()
    if last_error and not _is_typed():
        raise typer.Exit(last_error.exit_code)


class _Talk(Chat):
    """The chat in this terminal."""

    def beside(self, names: Sequence[str], answers: Sequence[Iterator[str]]) -> None:
        """Both answers grow at the same time in two columns, where the terminal can draw them."""
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_terminal or console.is_dumb_terminal or console.width < 60:
            super().beside(names, answers)
            return
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text

        texts = [""] * len(names)

        def drawn() -> Table:
            table = Table(expand=True)
            for name in names:
                table.add_column(name, ratio=1, overflow="fold")
            table.add_row(*(Text(printable(text)) for text in texts))
            return table

        writing = dict(enumerate(answers))
        try:
            with Live(drawn(), console=console, vertical_overflow="visible") as live:
                while writing:
                    for number, answer in list(writing.items()):
                        piece = next(answer, None)
                        if piece is None:
                            del writing[number]
                        else:
                            texts[number] += piece
                        live.update(drawn())
        except KeyboardInterrupt:
            say("(stopped)")


def _write(text: str) -> None:
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def _is_typed() -> bool:
    """Whether a person types; standard input may also be a pipe, a file, or closed (then it is None)."""
    return sys.stdin is not None and sys.stdin.isatty()


def _lines(root: Path) -> Iterator[str]:
    """What the person types, or what is piped in; bytes that are no UTF-8 come as lone surrogates."""
    if not _is_typed():
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
            yield from iter(sys.stdin.readline, "")  # a file itself would be closed at /quit
        return
    ask = _plainly if os.environ.get("TERM", "") in ("dumb", "unknown") else _editor(root)
    while True:
        try:
            yield ask("> ")
        except KeyboardInterrupt:
            say("(/quit or Ctrl-D leaves)")
        except EOFError:
            return


def _plainly(prompt: str) -> str:
    """For a terminal that obeys no codes, such as an editor's."""
    sys.stdout.write(prompt)
    sys.stdout.flush()
    if not (line := sys.stdin.readline()):
        raise EOFError
    return line


def _editor(root: Path) -> Callable[[str], str]:
    from prompt_toolkit import PromptSession  # not needed where lines are piped in

    session: PromptSession[str] = PromptSession(
        history=_history(root), multiline=True, key_bindings=_keys(), prompt_continuation="  "
    )
    return session.prompt


def _history(root: Path) -> History:
    """What was typed in earlier talks, for the arrow keys; readable by its owner alone."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    path = root / _HISTORY
    try:
        path.parent.mkdir(exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:  # a clone that only may be read
        return InMemoryHistory()
    return FileHistory(path)


def _keys() -> KeyBindings:
    """Enter sends, Alt-Enter begins a new line; what is pasted keeps its lines."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def break_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
