"""The recall matrix and backward transfer: what learning the new does to the old.

Lopez-Paz and Ranzato 2017 (arXiv 1706.08840): R[i][j] is the score of generation i on the batch that
generation j was taught; backward transfer is the mean over j < i of R[i][j] - R[j][j]. Below 0 the
line forgets, above 0 the new has helped the old.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

COLUMNS = ("generation", "batch", "correct", "n")


@dataclass(frozen=True)
class Cell:
    """Generation ``generation`` answered ``correct`` of ``n`` questions that generation ``batch`` was taught."""

    generation: int
    batch: int
    correct: int
    n: int

    @property
    def recall(self) -> float:
        """The share of right answers, 0..1."""
        return self.correct / self.n


def row(generation: int, by_generation: Mapping[str, Mapping[str, int]]) -> list[Cell]:
    """This generation's row, from the recall score's ``by_generation``; untaught probes are no batch."""
    return [
        Cell(generation, int(batch), counts["correct"], counts["n"])
        for batch, counts in by_generation.items()
        if batch != "untaught"
    ]


def backward_transfer(cells: Iterable[Cell], generation: int) -> float | None:
    """None while there is nothing old to forget."""
    by_cell = {(cell.generation, cell.batch): cell.recall for cell in cells}
    changes = [
        value - by_cell[batch, batch]
        for (row, batch), value in by_cell.items()
        if row == generation and batch < row and (batch, batch) in by_cell
    ]
    return sum(changes) / len(changes) if changes else None


def dumps(cells: Iterable[Cell]) -> str:
    """The cells as CSV, as models/transfer.csv has them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((cell.generation, cell.batch, cell.correct, cell.n) for cell in cells)
    return text.getvalue()


def loads(text: str) -> list[Cell]:
    """The cells of a CSV text that ``dumps`` wrote."""
    rows = csv.reader(io.StringIO(text))
    next(rows)
    return [Cell(*map(int, values)) for values in rows]
