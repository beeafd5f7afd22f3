"""The command ``luna``: one file a command, imported only when it is asked for.

Each command's help is its documentation; errors are one sentence and an exit code.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from luna import ending, start
from luna.errors import LunaError, from_os_error

#: The commands as people think of them; each lies in the file of its name, with _ for -.
GROUPS = {
    "Grow": ("init", "evolve", "age-up", "new", "seal"),
    "Look": ("status", "log", "report", "diff", "bisect", "blame", "eval", "maturity"),
    "Go back": ("rollback", "restore", "recover", "rebuild", "reproduce"),
    "Keep safe": ("verify", "repair", "doctor", "cold", "archive", "snapshot", "gc", "thin"),
    "Talk": ("chat", "serve"),
    "Share": ("export", "bundle"),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)


class Commands(Mapping[str, TyperCommand]):
    """Every command by its name; looking one up imports its file."""

    def __getitem__(self, name: str) -> TyperCommand:
        """The command, made from the function ``command`` of its file."""
        if name not in NAMES:
            raise KeyError(name)
        file = importlib.import_module(f"luna.cli.{name.replace('-', '_')}")
        alone = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        alone.command(name)(file.command)
        return typer.main.get_command(alone)

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of ``luna --help``."""
        return iter(NAMES)

    def __len__(self) -> int:
        """How many commands there are."""
        return len(NAMES)


def summary(name: str) -> str:
    """The first line of a command's help, read from its file without importing it."""
    source = Path(__file__).with_name(f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
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


app = typer.Typer(
    name="luna",
    cls=Luna,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def luna() -> None:
    """Generations of a fine-tuned chat model that never overwrite history.

    A generation is named G003, 3, by its full name, or HEAD for the current best.
    Exit codes: 0 done, 1 a check or a rule said no, 2 a mistake in the call or its input.
    """


def main() -> None:
    """Run the command that the arguments name; the entry point of ``luna``."""
    start.prepare()
    ending.on_sigterm("luna")
    try:
        try:
            app(standalone_mode=True)
        except OSError as error:
            raise from_os_error(error) or error from error
    except LunaError as error:
        print(f"luna: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("luna: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
