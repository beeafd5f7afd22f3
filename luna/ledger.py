"""lineage.csv: one row a generation, appended and never changed."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields

from luna.errors import InputError
from luna.names import BASE_PARENT

COLUMNS = (
    "gen",
    "parent",
    "weights_sha256",
    "tokenizer_sha256",
    "data_delta_sha256",
    "steps",
    "lr",
    "loss_final",
    "eval_recall",
    "eval_generalize",
    "eval_tone",
    "weight_change_%",
    "promoted_to_head",
    "timestamp",
)


_DIGITS = 10  # more than any generation's number has


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
    """The rows as lineage.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            (
                row.gen,
                row.parent,
                row.weights_sha256,
                row.tokenizer_sha256,
                row.data_delta_sha256,
                row.steps,
                f"{row.lr:g}",
                _number(row.loss_final),
                _number(row.eval_recall),
                _number(row.eval_generalize),
                _number(row.eval_tone),
                _number(row.weight_change),
                "true" if row.promoted else "false",
                row.timestamp,
            )
        )
    return text.getvalue()


@dataclass(frozen=True)
class Fault:
    """A line of the ledger that is no row of it. ``gen`` is what its first cell says, where that is a number."""

    line: int
    gen: int | None


_RESTORE = "restore it with 'git restore lineage.csv'"


def scan(
    text: str, where: str = "lineage.csv", remedy: str = _RESTORE
) -> tuple[list[Row], list[Fault]]:
    """Every row that parses, in the ledger's order, and every line that does not.

    A row that repeats a generation, or whose parent is not older than itself, is no row either.
    Raises InputError when the header is not the ledger's: then nothing is known of any row.
    """
    if not text.strip():
        return [], []
    rows: dict[int, Row] = {}
    faults = []
    for number, line in enumerate(text.splitlines(), start=1):
        values = _cells(line)
        if number == 1:
            if tuple(values) != COLUMNS:
                raise InputError(f"{where} line 1 is not the ledger's header: {remedy}.")
            continue
        try:
            row = _row(values)
            if row.gen in rows:
                raise ValueError
            rows[row.gen] = row
        except (ValueError, KeyError):
            faults.append(
                Fault(
                    number,
                    int(values[0])
                    if values
                    and values[0].isascii()
                    and values[0].isdigit()
                    and len(values[0]) < _DIGITS
                    else None,
                )
            )
    return list(rows.values()), faults


def loads(text: str, where: str = "lineage.csv", remedy: str = _RESTORE) -> list[Row]:
    """Raises InputError naming the line that does not parse."""
    rows, faults = scan(text, where, remedy)
    if faults:
        raise InputError(f"{where} line {faults[0].line} is not a row of the ledger: {remedy}.")
    return rows


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _row(values: list[str]) -> Row:
    if len(values) != len(fields(Row)):
        raise ValueError
    (
        gen,
        parent,
        weights,
        tokenizer,
        delta,
        steps,
        lr,
        loss,
        recall,
        general,
        tone,
        change,
        promoted,
        timestamp,
    ) = values
    row = Row(
        int(gen),
        parent if parent == BASE_PARENT else int(parent),
        weights,
        tokenizer,
        delta,
        int(steps),
        _finite(lr),
        *(_finite(value) if value else None for value in (loss, recall, general, tone)),
        _finite(change),
        {"true": True, "false": False}[promoted],
        timestamp,
    )
    if row.gen < 0 or (isinstance(row.parent, int) and not 0 <= row.parent < row.gen):
        raise ValueError
    return row


def with_row(rows: list[Row], row: Row) -> list[Row]:
    """The rows of the generations before ``row``, then ``row``: running a stage twice changes nothing."""
    return [old for old in rows if old.gen < row.gen] + [row]
