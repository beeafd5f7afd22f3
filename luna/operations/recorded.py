"""Checks before a seal that number, parent and past rows are those of history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luna import artifacts, ledger
from luna.errors import StateError
from luna.history import build as builds
from luna.history import keyframes, past
from luna.history.build import Build
from luna.history.line import Line
from luna.names import BASE_PARENT
from luna.params import Params

_AGAIN = "start it again with 'luna new --replace'; nothing was sealed"


def require(root: Path, line: Line, settings: Params, metrics: dict[str, Any]) -> None:
    """For the generation that params.yaml names, whose pipeline has ended with ``metrics``.

    Raises:
        InputError: params.yaml names another generation or parent than 'luna new' recorded.
        StateError: number or parent are not what history allows, or the ledger is not the sealed one and one row.
    """
    name, parent = settings.generation.identity, settings.generation.parent
    build = require_named(root, settings)
    if name.number != line.next_number:
        raise StateError(
            f"{name} would not be the next generation, which is number {line.next_number}: {_AGAIN}."
        )
    _require_parent(line, str(name), parent, build)
    row = _require_ledger(root, line, name.number)
    ancestor = settings.generation.parent_name
    number = BASE_PARENT if ancestor is None else ancestor.number
    if not str(row.parent) == str(metrics["generation"]["parent"]) == str(number):
        raise StateError(
            f"The results of {name} name parent {row.parent}, but it was started with parent {number}: run 'dvc repro', then 'luna seal'; nothing was sealed."
        )


def require_named(root: Path, settings: Params) -> Build | None:
    """The recorded build; None where an earlier version began it. Raises InputError where params.yaml names another generation or parent."""
    build = builds.read(root)
    if build is not None:
        builds.require_same(settings, build)
    return build


def _require_parent(line: Line, name: str, parent: str | None, build: Build | None) -> None:
    """The parent was the head when the build was begun, and its ancestors are those that the seals name."""
    move = max(line.assignments, default=0) if build is None else build.head_move
    head = line.assignments.get(move)
    at_head = next(
        (tag.name for tag in line.sealed.values() if head and tag.commit == head.commit),
        BASE_PARENT,
    )
    if parent != at_head or (not line.sealed) != (parent == BASE_PARENT):
        raise StateError(
            f"{name} has parent {parent}, but the head was {at_head} when it was started: {_AGAIN}."
        )
    if build is not None and build.ancestors != builds.ancestors(line, build.parent):
        raise StateError(
            f"{artifacts.BUILD} does not name the ancestors of {name} that the seals name: {_AGAIN}."
        )
    if build is not None:
        keyframes.require(line, build)


def _require_ledger(root: Path, line: Line, number: int) -> ledger.Row:
    """The row of the generation, after past rows that are byte for byte the sealed ones."""
    path = root / artifacts.LEDGER
    text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    sealed = past.ledger_of_seals(line.git, line.sealed) or ledger.HEADER
    if wrong := ledger.altered_rows(sealed, text):
        raise StateError(
            f"{artifacts.LEDGER} is not the sealed ledger and one row more ({'; '.join(wrong[:3])}): run 'dvc repro --force --single-item promote', then 'luna seal'; nothing was sealed."
        )
    rows = ledger.loads(text)[len(ledger.loads(sealed)) :]
    if [row.gen for row in rows] != [number]:
        raise StateError(
            f"{artifacts.LEDGER} should have one new row, that of generation {number}, and has {len(rows)}: run 'dvc repro --force --single-item promote', then 'luna seal'; nothing was sealed."
        )
    return rows[0]
