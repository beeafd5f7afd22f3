"""python -m evals.judge: how often the judge agrees with a person, by kind and by language, as docs/evals.md has it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from evals.judge.rows import ROWS, Agreement, Row, agreement, agrees, load
from evals.judge.verdict import judge


def _cell(rows: Sequence[Row]) -> str:
    found: Agreement = agreement(rows)
    return f"{found.agreed} of {found.n}" if rows else "-"


def _table(rows: Sequence[Row], name: str, of: Callable[[Row], str], parted: bool) -> list[str]:
    head, rule = (
        (f"| {name} | design | held |", "| --- | ---: | ---: |")
        if parted
        else (f"| {name} | agreed |", "| --- | ---: |")
    )
    lines = [head, rule]
    for value in sorted({of(row) for row in rows}):
        mine = [row for row in rows if of(row) == value]
        parts = [[row for row in mine if not row.held], [row for row in mine if row.held]]
        cells = [_cell(part) for part in parts] if parted else [_cell(mine)]
        lines.append(f"| {value} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the tables; with --wrong also the rows of the design part on which judge and person differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "rows", nargs="?", type=Path, help="JSON lines of your own, in the form of rows.jsonl"
    )
    parser.add_argument(
        "--wrong",
        action="store_true",
        help="show where judge and person differ (of the design part)",
    )
    given = parser.parse_args()
    rows = load(given.rows or ROWS)
    parted = given.rows is None
    started = time.perf_counter()
    parts = (
        [
            ("design", [row for row in rows if not row.held]),
            ("held", [row for row in rows if row.held]),
        ]
        if parted
        else [("all", rows)]
    )
    print("| part | agreed | | exchanged facts | |\n| --- | ---: | ---: | ---: | ---: |")
    for name, part in parts:
        every, exchanged = agreement(part), agreement([row for row in part if row.exchanged])
        print(
            f"| {name} | {every.agreed} of {every.n} | {every.share:.1%} | {exchanged.agreed} of {exchanged.n} | {exchanged.share:.1%} |"
        )
    seconds = time.perf_counter() - started
    for name, of in (("kind", lambda row: row.kind), ("language", lambda row: row.language)):
        print("\n" + "\n".join(_table(rows, name, of, parted)))
    print(f"\n{len(rows) / seconds:,.0f} rows a second, each judged once or twice.")
    if given.wrong:
        for row in rows:
            if not (parted and row.held) and not agrees(row):
                why = judge(row.question, row.references, row.answer).why
                print(
                    f"{row.language} {row.kind} {row.right}: {row.question} | {' / '.join(row.references)} | {row.answer} -> {why.value}"
                )


if __name__ == "__main__":
    main()
