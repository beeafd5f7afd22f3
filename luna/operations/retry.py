"""Chooses the next settings of `retry:` after denials, from the sealed tags alone.

The list is your own settings, then each entry of ``retry`` in params.yaml. A try was made when a
generation with the same parent, the same conversations and the same settings was denied: the tags
hold all of this. So new conversations, another rule or a change of your own settings starts the list again.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from luna import artifacts, params
from luna.conversations import taught
from luna.errors import InputError
from luna.history.line import Line, sealed_params
from luna.names import GenerationName
from luna.operations.new import waiting
from luna.promotion import advice
from luna.promotion.advice import Advice

_SHAPING = (
    "chat",
    "data",
    "train",
    "export",
    "evaluate",
    "promotion",
)  # sections that decide what a generation becomes


def next_try(root: Path, line: Line) -> int | None:
    """0: one's own settings, as params.yaml has them; n: the n-th of ``retry``; None: all of them were denied.

    Raises InputError for a conversation that is not valid.
    """
    made = _denied(line, {item.identity for item in waiting(root, line).next}).values()
    return next((number for number, shape in enumerate(_tries(root)) if shape not in made), None)


def advised(root: Path, line: Line) -> Advice | None:
    """What would help, where one's own settings and all of ``retry`` were denied on what is next; None: a try is left.

    As the last of these tries says. Raises InputError for a conversation that is not valid.
    """
    if line.newest == line.head_name:
        return None
    made = _denied(line, {item.identity for item in waiting(root, line).next})
    tries = _tries(root)
    if any(shape not in made.values() for shape in tries):
        return None
    last = [name for name, shape in made.items() if shape in tries][-1]
    [text] = line.git.cat([f"refs/tags/{last}:{artifacts.METRICS.as_posix()}"])
    try:
        return advice.loads(json.loads(text or b"")["decision"]["advice"])
    except (ValueError, KeyError, TypeError):  # sealed by an earlier version, or damaged
        return None


def _tries(root: Path) -> list[dict[str, Any]]:
    """One's own settings, then those of each entry of ``retry``."""
    own = params.load(root)
    others = [params.with_settings(own, item.settings()) for item in own.retry]
    return [_shape(settings) for settings in (own, *others)]


def _shape(settings: params.Params) -> dict[str, Any]:
    return settings.model_dump(include=set(_SHAPING))


def _denied(line: Line, batch: set[str]) -> dict[str, dict[str, Any]]:
    """Settings of the head's denied children that learnt just this batch, by their names, the oldest first."""
    if line.head_name is None or not batch:
        return {}
    head = GenerationName.parse(line.head_name).number
    names = [
        line.sealed[row.gen].name
        for row in line.ledger()
        if line.parents.get(row.gen) == head and not row.promoted and row.gen in line.sealed
    ]
    texts = line.git.cat([f"refs/tags/{name}:{artifacts.TAUGHT.as_posix()}" for name in names])
    denied: dict[str, dict[str, Any]] = {}
    for name, text in zip(names, texts, strict=True):
        number = GenerationName.parse(name).number
        if {
            row.identity for row in taught.loads((text or b"").decode()) if row.generation == number
        } == batch:
            with contextlib.suppress(
                InputError
            ):  # written by another version: then it is another setting
                denied[name] = _shape(sealed_params(line.git, name))
    return denied
