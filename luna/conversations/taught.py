"""taught.csv: one row for each conversation that the line was trained on.

It grows with the data and not with the number of generations, so one small file answers which
conversations any ancestor has seen, which generation taught them, and what they were worth.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from luna.errors import InputError

COLUMNS = ("conversation_sha256", "generation", "karma")


@dataclass(frozen=True)
class Taught:
    """A conversation that was taught: its identity, by which generation, and its karma."""

    identity: str
    generation: int
    karma: float


def dumps(rows: list[Taught]) -> str:
    """The rows as taught.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.identity, row.generation, f"{row.karma:g}") for row in rows)
    return text.getvalue()


def loads(text: str) -> list[Taught]:
    """The rows of taught.csv. Raises InputError where its columns are missing."""
    reader = csv.reader(io.StringIO(text))
    if tuple(next(reader, ())) != COLUMNS:
        raise InputError(
            "taught.csv does not begin with its columns: restore it with 'git restore models/taught.csv'."
        )
    return [
        Taught(identity, int(generation), float(karma)) for identity, generation, karma in reader
    ]
