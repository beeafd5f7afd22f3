"""What commands share: finding the repository, and printing for a person or for a script."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from luna.errors import ColdStorageError, LunaError
from luna.history import known
from luna.history.known import Kind
from luna.history.line import Line, read_line
from luna.params import Params
from luna.repo import settings
from luna.repo.git import Git
from luna.storage import cold
from luna.storage.cold import Store
from luna.text import escaped, escaped_json

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of text.")]
JSON_VERSION = 1  # becomes 2 when a key goes or changes its meaning; new keys do not count
_LACKING = frozenset({Kind.SHALLOW, Kind.MISSING, Kind.DELETED})  # then the generation may exist
GENERATION = "G003, 3, the full name, or HEAD"
Generations = Annotated[
    list[str] | None,
    typer.Argument(help=f"Generations to read: {GENERATION}. None: all of them."),
]


def repository_root() -> Path:
    """The folder of the repository in which the command was called."""
    return Git().root


def settings_of(root: Path) -> Params:
    """params.yaml of the working tree; where it cannot be read, that of the last commit, and a warning."""
    given = settings.read(root)
    if given.wrong:
        say(f"luna: {given.wrong}: {given.remedy} (going by the last commit's)")
    return given.values


def line_of(root: Path) -> Line:
    """The line of the checkout at ``root``, read from git once; a warning names what its tags do not know."""
    line = read_line(root, settings_of(root).line.prefix)
    tell_doubts(line)
    return line


def tell_doubts(line: Line) -> bool:
    """Print each sign that this clone's tags are not the whole line. Returns whether there is none."""
    doubts = known.doubts(line)
    for doubt in doubts:
        say(f"luna: {doubt.sentence}")
    return not any(doubt.stops for doubt in doubts)


def reachable_stores(root: Path) -> list[Store]:
    """All stores of cold storage; none, with a warning, when one does not answer, so that the command can continue."""
    try:
        return cold.open_all(root)
    except ColdStorageError as error:
        say(f"luna: {error} Continuing without it.")
        return []


def print_json(value: Any) -> None:
    """Print a dataclass, a dictionary or a list of them as indented JSON, each with the format's version."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    plain = [versioned(item) for item in plain] if isinstance(plain, list) else versioned(plain)
    typer.echo(escaped_json(json.dumps(plain, indent=2, ensure_ascii=False)))


def versioned(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the format's version as its first key (docs/json.md)."""
    return {"version": JSON_VERSION} | document


def say(text: str) -> None:
    """Print a line of progress or a warning to standard error."""
    typer.echo(printable(text), err=True)


def why_unknown(error: LunaError) -> str:
    """Why there is no such generation: where this clone lacks a part of the line, that, with the command that brings it."""
    with contextlib.suppress(LunaError):
        root = repository_root()
        doubts = known.doubts(read_line(root, settings.standing(root).line.prefix))
        if lacking := next((doubt for doubt in doubts if doubt.kind in _LACKING), None):
            return f"{lacking.sentence}, then run the same command again."
    return str(error)


def printable(text: str) -> str:
    """Text from outside (names, answers) with control characters as escapes, so that it cannot control the terminal."""
    return escaped(text, keep="\n\t")
