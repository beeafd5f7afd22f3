"""The general questions of evals/ability: what a person or this project wrote, read and checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna.conversations import jsonl
from luna.errors import InputError


@dataclass(frozen=True)
class Question:
    """One line of evals/ability/NAME.jsonl; ``set`` is NAME. An answer is right when its first words contain one of ``expect``."""

    set: str
    kind: str
    ask: str
    expect: tuple[str, ...]

    @property
    def identity(self) -> str:
        """SHA-256 of what is asked and how it is marked."""
        text = json.dumps([self.ask, self.expect], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def load(folder: Path) -> dict[str, list[Question]]:
    """Each set of questions by its name. Raises InputError for a line that is not one, naming file and line."""
    sets: dict[str, list[Question]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, row in jsonl.rows(path, path.as_posix()):
            sets.setdefault(path.stem, []).append(_question(path, number, row))
    return sets


def _question(path: Path, number: int, row: Any) -> Question:
    given = row if isinstance(row, dict) else {}
    expect = given.get("expect")
    accepted = expect if isinstance(expect, list) else []
    texts = [given.get("ask"), given.get("kind", "own"), *accepted]
    known = set(given) <= {"ask", "expect", "kind"}
    if not (known and accepted and all(isinstance(one, str) and one.strip() for one in texts)):
        raise InputError(
            f'{path} line {number} is not a general question: write it as {{"ask": "What is 9 + 1?", "expect": ["10", "ten"]}}, '
            "if you like with a 'kind'."
        )
    ask, kind, *accepted = texts
    return Question(path.stem, kind, ask, tuple(accepted))
