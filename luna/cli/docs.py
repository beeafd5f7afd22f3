"""Writes docs/commands.md and the list of files in ARCHITECTURE.md from the code.

    python -m luna.cli.docs

A command's text is its help; a file's line is the first line of its docstring. Tests fail when
either page is not current.
"""

from __future__ import annotations

import ast
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from luna import files
from luna.cli.main import app

PAGE = Path("docs/commands.md")
ARCHITECTURE = Path("ARCHITECTURE.md")
#: The folders whose files are listed, in this order.
LISTED = ("luna", "stages", "evals", "bench", "tests/faults")
BEGIN = "<!-- The list below is written by python -m luna.cli.docs -->"
END = "<!-- The end of the list -->"


def page() -> str:
    """The whole page, Markdown: every command with its help, arguments and options."""
    group = typer.main.get_group(app)
    parts = [
        "# Commands",
        "Made from each command's help by `python -m luna.cli.docs`.",
        group.help or "",
    ]
    for name in sorted(group.commands):
        parts += _command(name, group.commands[name])
    return "\n\n".join(part.strip() for part in parts) + "\n"


def first_line(path: Path) -> str:
    """The first line of a module's docstring: the sentence that says what the file holds."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def modules(root: Path) -> list[Path]:
    """Every Python file of ``LISTED``, relative to the root: folder by folder, its own files first."""
    return [
        path.relative_to(root)
        for folder in LISTED
        for path in sorted((root / folder).rglob("*.py"), key=lambda path: (path.parent, path.name))
    ]


def architecture(root: Path) -> str:
    """ARCHITECTURE.md with its list of files as the code has it now, Markdown."""
    text = (root / ARCHITECTURE).read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [BEGIN]
    for folder, paths in groupby(modules(root), key=lambda path: path.parent):
        names = list(paths)
        rows = [
            f"- [{path.name}]({path.as_posix()}): {first_line(root / path)}"
            for path in names
            if path.name != "__init__.py"
        ]
        purpose = [first_line(root / path) for path in names if path.name == "__init__.py"]
        parts += [f"### {folder.as_posix()}/", *purpose, "\n".join(rows)]
    return before + "\n\n".join(parts) + f"\n\n{END}" + after


def _command(name: str, command: Any) -> list[str]:
    rows = []
    arguments = []
    for parameter in command.params:
        text = (getattr(parameter, "help", None) or "").strip()
        if parameter.param_type_name == "argument":
            shown = (parameter.name or "").upper()
            arguments.append(shown if parameter.required else f"[{shown}]")
        else:
            shown = ", ".join(parameter.opts)
        rows.append(f"- `{shown}`: {text}")
    usage = " ".join(
        ["luna", name, *(["[OPTIONS]"] if len(rows) > len(arguments) else []), *arguments]
    )
    help_text = "\n".join(line.strip() for line in (command.help or "").splitlines())
    return [f"## luna {name}", f"`{usage}`", help_text, *(["\n".join(rows)] if rows else [])]


def write(root: Path) -> None:
    """Write both pages, whole."""
    files.write_text(root / PAGE, page())
    files.write_text(root / ARCHITECTURE, architecture(root))


if __name__ == "__main__":
    write(Path())
