"""lineage.csv: one row a generation, appended and never changed."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, fields

from luna.errors import InputError
from luna.names import BASE_PARENT

COLUMNS = (
    "gen", "parent", "weights_sha256", "tokenizer_sha256", "data_delta_sha256", "steps", "lr", "loss_final",
    "eval_recall", "eval_generalize", "eval_tone", "weight_change_%", "promoted_to_head", "timestamp",
)


@dataclass(frozen=True)
class Row:
    """One generation. Scores are fractions 0..1 or None where nothing could be measured; the change is in percent."""

    gen: int
    parent: int | str
    weights_sha256: str
    tokenizer_sha256: str
    data_delta_sha256: str
    steps: int
    lr: float
    loss_final: float | None
    eval_recall: float | None
    eval_generalize: float | None
    eval_tone: float | None
    weight_change: float
    promoted: bool
    timestamp: str


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{round(value, digits):g}"


def dumps(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow((
            row.gen, row.parent, row.weights_sha256, row.tokenizer_sha256, row.data_delta_sha256, row.steps, f"{row.lr:g}",
            _number(row.loss_final), _number(row.eval_recall), _number(row.eval_generalize), _number(row.eval_tone),
            _number(row.weight_change), "true" if row.promoted else "false", row.timestamp,
        ))
    return text.getvalue()


def loads(text: str) -> list[Row]:
    """Raises InputError naming the line that does not parse."""
    if not text.strip():
        return []
    reader = csv.reader(io.StringIO(text))
    if tuple(next(reader)) != COLUMNS:
        raise InputError("lineage.csv line 1 is not the ledger's header: restore it with 'git restore lineage.csv'.")
    rows = []
    for number, values in enumerate(reader, start=2):
        try:
            rows.append(_row(values))
        except (ValueError, KeyError):
            raise InputError(f"lineage.csv line {number} is not a row of the ledger: restore it with 'git restore lineage.csv'.") from None
    return rows


def _row(values: list[str]) -> Row:
    if len(values) != len(fields(Row)):
        raise ValueError
    gen, parent, weights, tokenizer, delta, steps, lr, loss, recall, general, tone, change, promoted, timestamp = values
    return Row(
        int(gen), parent if parent == BASE_PARENT else int(parent), weights, tokenizer, delta, int(steps), float(lr),
        *(float(value) if value else None for value in (loss, recall, general, tone)),
        float(change), {"true": True, "false": False}[promoted], timestamp,
    )


def with_row(rows: list[Row], row: Row) -> list[Row]:
    """The rows of the generations before ``row``, then ``row``: running a stage twice changes nothing."""
    return [old for old in rows if old.gen < row.gen] + [row]
