"""The labelled answers by which the judge is judged: a design part and a held part."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.facts.verdict import judge
from luna import files

ROWS = Path(__file__).with_name("rows.jsonl")
LATER = Path(__file__).with_name(
    "later.jsonl"
)  # written when the judge was nearly done, and then used to better it
#: Kinds in which a fact was exchanged for another.
EXCHANGED = frozenset(
    {"number", "digits", "name", "date", "weekday", "numberword", "unit", "frame"}
)
_PARTS = 3


@dataclass(frozen=True)
class Row:
    """An answer to a question with its taught replies, and whether a person calls it right."""

    question: str
    references: tuple[str, ...]
    answer: str
    right: bool
    kind: str
    language: str

    @property
    def held(self) -> bool:
        """Whether it belongs to the third that was not looked at: by the question's hash, so that no question is in both."""
        digest = hashlib.sha256(f"judge/{self.question}".encode()).hexdigest()
        return int(digest, 16) % _PARTS == _PARTS - 1

    @property
    def exchanged(self) -> bool:
        """Whether it is wrong by an exchanged fact."""
        return self.kind in EXCHANGED and not self.right


@dataclass(frozen=True)
class Agreement:
    """On how many of ``n`` rows the judge says what the person says."""

    agreed: int
    n: int

    @property
    def share(self) -> float:
        """0..1."""
        return self.agreed / self.n if self.n else 1.0


def load(path: Path = ROWS) -> list[Row]:
    """All labelled rows of a file of JSON lines."""
    return [Row(**row | {"references": tuple(row["references"])}) for row in files.read_jsonl(path)]


def agrees(row: Row) -> bool:
    """Whether the judge's verdict is the person's."""
    return judge(row.question, row.references, row.answer).right is row.right


def agreement(rows: Sequence[Row]) -> Agreement:
    """How often the judge agrees with the labels."""
    return Agreement(sum(map(agrees, rows)), len(rows))
