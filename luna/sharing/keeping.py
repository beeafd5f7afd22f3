"""What of a conversation is kept for the next generation: praised, or its last answer corrected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts
from luna.conversations import inbox

Turns = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Kept:
    """``new`` is False where the same conversation lay in the inbox before. ``turns`` and ``good`` are the conversation's now."""

    path: Path
    new: bool
    turns: list[tuple[str, str]]
    good: frozenset[int]


def row(
    turns: Turns, learnt: Iterable[int] | None = None, system: str | None = None
) -> dict[str, Any]:
    """The conversation as data/conversations has it; answers that are not ``learnt`` (None: all are) are context."""
    taught = None if learnt is None else frozenset(learnt)
    messages = [{"role": "system", "content": system}] if system is not None else []
    return {
        "messages": messages
        + [
            {"role": role, "content": content}
            | (
                {"weight": 0}
                if role == "assistant" and taught is not None and at not in taught
                else {}
            )
            for at, (role, content) in enumerate(turns)
        ]
    }


def keep(
    root: Path,
    turns: Turns,
    good: Iterable[int],
    correction: str | None,
    system: str | None = None,
) -> Kept:
    """Put a conversation that ends with an answer into the inbox.

    Without a correction all of its answers are learnt. With one, it takes the place of the last answer, and of the
    earlier ones only those at the indexes ``good`` are learnt: they were praised or corrected before.
    Raises InputError, and keeps nothing, where it is no conversation that can be learnt.
    """
    now = list(turns)
    if correction is None:
        learnt = frozenset(at for at, (role, _) in enumerate(now) if role == "assistant")
    else:
        now[-1] = ("assistant", correction)
        learnt = frozenset({*good, len(now) - 1})
    waiting = {path.name for path in (root / artifacts.INBOX).glob("*.jsonl")}
    path = inbox.add(root, row(now, learnt, system))
    return Kept(path, path.name not in waiting, now, learnt)
