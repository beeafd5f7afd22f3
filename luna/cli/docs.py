"""docs/commands.md from the commands' own help: python -m luna.cli.docs writes it, a test checks that it is current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from luna import files
from luna.cli.main import app

PAGE = Path("docs/commands.md")


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


def _command(name: str, command: Any) -> list[str]:
    rows = []
    arguments = []
    for parameter in command.params:
        text = (getattr(parameter, "help", None) or "").strip()
        if parameter.param_type_name == "argument":
            shown = parameter.name.upper()
            arguments.append(shown if parameter.required else f"[{shown}]")
        else:
            shown = ", ".join(parameter.opts)
        rows.append(f"- `{shown}`: {text}")
    usage = " ".join(
        ["luna", name, *(["[OPTIONS]"] if len(rows) > len(arguments) else []), *arguments]
    )
    help_text = "\n".join(line.strip() for line in (command.help or "").splitlines())
    return [f"## luna {name}", f"`{usage}`", help_text, *(["\n".join(rows)] if rows else [])]


if __name__ == "__main__":
    files.write_text(PAGE, page())
