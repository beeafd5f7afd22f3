"""The command `luna` itself: its groups, its exit codes, and one file for each command.

Each command's help is its documentation; errors are one sentence and an exit code.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import keyword
import logging
import shlex
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from luna import __version__, ending, start
from luna.errors import LunaError, UnknownGeneration, from_os_error

_log = logging.getLogger(__name__)
#: Exit codes beside 0 (done), 1 (a check or a rule said no) and 2 (a mistake of the user's).
FAULT = 3
INTERRUPTED = 130  # 128 + SIGINT, the shell's convention

#: The commands as people think of them; each lies in the file of its name (see ``stem``).
GROUPS = {
    "Grow": ("init", "import", "evolve", "age-up", "new", "seal"),
    "Look": ("status", "log", "report", "diff", "bisect", "blame", "eval", "maturity"),
    "Go back": ("rollback", "restore", "recover", "rebuild", "reproduce"),
    "Keep safe": ("verify", "repair", "doctor", "cold", "archive", "snapshot", "gc", "thin"),
    "Talk": ("chat", "serve", "studio"),
    "Share": ("export", "bundle"),
}
#: What people type who come from git or another tool, and the command that does it here.
MEANT = {
    "add": "import",
    "ask": "chat",
    "backup": "archive",
    "check": "verify",
    "checkout": "rollback",
    "clean": "gc",
    "compare": "diff",
    "fetch": "restore",
    "fix": "repair",
    "fsck": "verify",
    "grow": "evolve",
    "history": "log",
    "list": "log",
    "load": "import",
    "ls": "log",
    "prune": "gc",
    "pull": "restore",
    "push": "archive",
    "reset": "rollback",
    "revert": "rollback",
    "run": "chat",
    "show": "status",
    "talk": "chat",
    "tag": "seal",
    "test": "eval",
    "train": "evolve",
    "undo": "rollback",
}
NAMES = tuple(name for names in GROUPS.values() for name in names)


def stem(name: str) -> str:
    """The name of a command's file, without .py: with _ for -, and _ after a word of Python's own (import)."""
    return name.replace("-", "_") + ("_" if keyword.iskeyword(name) else "")


class Commands(MutableMapping[str, Any]):
    """Every command by its name; looking one up imports its file. None is added or taken away."""

    def __getitem__(self, name: str) -> Any:
        """The command, made from the function ``command`` of its file."""
        if name not in NAMES:
            raise KeyError(name)
        file = importlib.import_module(f"luna.cli.{stem(name)}")
        alone = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        alone.command(name)(file.command)
        return typer.main.get_command(alone)

    def __setitem__(self, name: str, command: Any) -> None:
        """The files in this folder are the commands."""
        raise TypeError(name)

    def __delitem__(self, name: str) -> None:
        """The files in this folder are the commands."""
        raise TypeError(name)

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of ``luna --help``."""
        return iter(NAMES)

    def __len__(self) -> int:
        """How many commands there are."""
        return len(NAMES)


def summary(name: str) -> str:
    """The first line of a command's help, read from its file without importing it."""
    source = Path(__file__).with_name(f"{stem(name)}.py").read_text(encoding="utf-8")
    [function] = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == "command"
    ]
    return (ast.get_docstring(function) or "").partition("\n")[0]


class Luna(TyperGroup):
    """The group of all commands, listed under the headings of ``GROUPS``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = Commands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands group by group; their files are not imported for it."""
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<9}", summary(name)) for name in names])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; a typing error, or another tool's word for it, is answered with the right name."""
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            close = [word] if word in MEANT else difflib.get_close_matches(word, [*NAMES, *MEANT])
            meant = dict.fromkeys(f"'{MEANT.get(name, name)}'" for name in close)
            ctx.fail(
                f"No such command '{word}'."
                + (f" Did you mean {' or '.join(meant)}?" if meant else "")
            )
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete a command's name; no command's file is imported for it."""
        commands = self.commands
        self.commands = {name: TyperCommand(name, help=summary(name)) for name in NAMES}
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self.commands = commands


app = typer.Typer(
    name="luna",
    cls=Luna,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"luna {__version__}")
        raise typer.Exit


@app.callback()
def luna(
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Log each program that is run (git, DVC) to standard error: luna -v COMMAND.",
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Generations of a fine-tuned chat model that never overwrite history.

    A generation is named G003, 3, by its full name, or HEAD for the current best.
    Exit codes: 0 done, 1 a check or a rule said no, 2 a mistake in the call or its input,
    3 a fault of Luna's own, 130 stopped by Ctrl-C.
    """
    if verbose:
        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
        logging.getLogger("luna").setLevel(logging.DEBUG)
        sys.addaudithook(_log_process)


def _log_process(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        _log.debug("%s", shlex.join(str(word) for word in arguments[1]))


def main() -> None:
    """Run the command that the arguments name; the entry point of ``luna``."""
    start.prepare()
    ending.on_sigterm("luna")
    ending.with_input()
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(_stopped())
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer has caught the Ctrl-C
            _stopped()
        raise


def _stopped() -> int:
    print("luna: stopped; run the same command again to resume", file=sys.stderr)
    return INTERRUPTED


def _run() -> int:
    try:
        try:
            app(prog_name="luna", standalone_mode=True)
        except OSError as error:
            raise from_os_error(error) or error from error
    except UnknownGeneration as error:
        from luna.cli import common

        print(f"luna: {common.why_unknown(error)}", file=sys.stderr)
        return error.exit_code
    except LunaError as error:
        _log.debug("raised here:", exc_info=True)
        print(f"luna: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        from luna.cli import errorlog

        traceback.print_exc()
        print(f"luna: {errorlog.sentence(error)}", file=sys.stderr)
        return FAULT
    return 0
