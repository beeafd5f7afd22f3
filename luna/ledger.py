"""lineage.csv, the ledger: one row for each generation, appended and never changed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
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


HEADER = ",".join(COLUMNS) + "\n"


def dumps(rows: list[Row]) -> str:
    """The rows as lineage.csv."""
    return HEADER + "".join(map(dumps_row, rows))


def dumps_row(row: Row) -> str:
    """One line, its end included."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(
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


def _maybe(text: str) -> float | None:
    return _finite(text) if text else None


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
        gen=int(gen),
        parent=parent if parent == BASE_PARENT else int(parent),
        weights_sha256=weights,
        tokenizer_sha256=tokenizer,
        data_delta_sha256=delta,
        steps=int(steps),
        lr=_finite(lr),
        loss_final=_maybe(loss),
        eval_recall=_maybe(recall),
        eval_generalize=_maybe(general),
        eval_tone=_maybe(tone),
        weight_change=_finite(change),
        promoted={"true": True, "false": False}[promoted],
        timestamp=timestamp,
    )
    if row.gen < 0 or (isinstance(row.parent, int) and not 0 <= row.parent < row.gen):
        raise ValueError
    return row


def differences(expected: str, given: str) -> list[str]:
    """How a ledger was changed, in sentences: line ends, columns, order of rows, single values."""
    if given == expected:
        return []
    if given.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n") == expected:
        return [
            "its line ends were changed (CRLF)"
            if "\r" in given
            else "a byte order mark was put before it"
        ]
    old, new = (
        list(
            csv.reader(
                io.StringIO(
                    text.removeprefix("\ufeff")
                    .replace("\r\n", "\n")
                    .replace("\r", "\n")
                    .replace("\0", "")
                )
            )
        )
        for text in (expected, given)
    )
    if not new or not old:
        return ["it is empty" if not new else "it was not empty when it was sealed"]
    reasons = ["its line ends were changed (CRLF)"] if "\r" in given else []
    if new[0] != old[0]:
        moved = sorted(new[0]) == sorted(old[0])
        return [
            *reasons,
            "its columns were reordered"
            if moved
            else f"its header was changed: {', '.join(sorted(set(new[0]) ^ set(old[0]))[:3])}",
        ]
    rows = {row[0]: row for row in new[1:] if row}
    for row in old[1:]:
        other = rows.pop(row[0], None)
        if other is None:
            reasons.append(f"the row of generation {row[0]} is gone")
        elif len(other) != len(row):
            reasons.append(
                f"the row of generation {row[0]} has {len(other)} values, not {len(row)}"
            )
        else:
            reasons += [
                f"generation {row[0]}, {column}: '{was}' became '{now}'"
                for column, was, now in zip(old[0], row, other, strict=False)
                if was != now
            ]
    reasons += [f"a row of generation {number} was added" for number in rows]
    if not reasons:
        reasons.append(
            "its rows were reordered"
            if [row[0] for row in new[1:] if row] != [row[0] for row in old[1:]]
            else "its bytes differ (quoting or blanks)"
        )
    return reasons


def altered_rows(sealed: str, text: str) -> list[str]:
    """As ``differences``, where ``text`` may hold more rows after those of ``sealed``."""
    if text.startswith(sealed):
        return []
    return differences(
        sealed, "".join(text.splitlines(keepends=True)[: len(sealed.splitlines())])
    ) or ["its bytes differ"]


class AsFirstSealed:
    """The ledger that history knows: each generation's row as its own seal wrote it, whatever a later seal says of it.

    Fed with the sealed ledgers one after the other, oldest first; ``text`` is what the next one must begin with.
    """

    def __init__(self) -> None:
        self.text = ""
        self._rows: dict[int, str] = {}
        self._header = HEADER

    def add(self, number: int, text: str) -> None:
        """``text``: the ledger that the seal of generation ``number`` holds."""
        if self.text and text.startswith(self.text):
            new = text[len(self.text) :]
        else:
            self._header = self._header if self.text else text.partition("\n")[0] + "\n"
            new = text.partition("\n")[2]
        for line in new.splitlines(keepends=True):
            gen = _gen(line)
            if gen == number:
                self._rows[number] = line
            elif gen is not None and gen < number:  # its own seal cannot be read, or is not here
                self._rows.setdefault(gen, line)
        self.text = self._header + "".join(self._rows[gen] for gen in sorted(self._rows))


def _gen(line: str) -> int | None:
    cell = line.partition(",")[0]
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) < _DIGITS else None


def descent(parents: Mapping[int, int | str | None], gen: int) -> list[int]:
    """A generation and its ancestors, newest first, as far back as ``parents`` tells of them; never one twice."""
    chain: dict[int, None] = {}
    at: int | str | None = gen
    while isinstance(at, int) and at in parents and at not in chain:
        chain[at] = None
        at = parents[at]
    return list(chain)
