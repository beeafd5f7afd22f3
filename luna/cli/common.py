"""What all commands share: finding the repository, and printing for a person or for a script."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luna.repo.git import Git
from luna.text import escaped, escaped_json

if TYPE_CHECKING:
    from luna.history.line import Line
    from luna.params import Params

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of text.")]


def root() -> Path:
    return Git().root


def settings_of(place: Path) -> Params:
    """params.yaml; what reads and checks it is imported here, since not every command needs it."""
    from luna import params

    return params.load(place)


def line_of(place: Path) -> Line:
    """The line of the checkout at ``place``, read from git once."""
    from luna.history.line import read_line

    return read_line(place, settings_of(place).line.prefix)


def print_json(value: Any) -> None:
    text = json.dumps(
        asdict(value) if is_dataclass(value) and not isinstance(value, type) else value,
        indent=2,
        ensure_ascii=False,
    )
    typer.echo(escaped_json(text))


def say(text: str) -> None:
    typer.echo(text, err=True)


def printable(text: str) -> str:
    """Text from outside (names, answers) without what a terminal would obey or fail on: shown as escapes."""
    return escaped(text, keep="\n\t")
