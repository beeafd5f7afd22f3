"""How often the judge agrees with a person, by kind and by language: python -m evals.judge."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from evals.facts.verdict import judge
from evals.judge.rows import LATER, ROWS, Row, agreement, agrees, load

Parts = Mapping[str, Sequence[Row]]


def _parts(path: Path | None) -> Parts:
    if path is not None:
        return {"agreed": load(path)}
    rows = load(ROWS)
    return {
        "design": [row for row in rows if not row.held],
        "later": load(LATER),
        "held": [row for row in rows if row.held],
    }


def _whole(parts: Parts) -> list[str]:
    lines = ["| part | all | | exchanged facts | |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, rows in parts.items():
        cells = []
        for some in (rows, [row for row in rows if row.exchanged]):
            agreed = agreement(some)
            cells += [f"{agreed.agreed} of {agreed.n}", f"{agreed.share:.1%}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _by(what: str, parts: Parts) -> list[str]:
    """A table of the agreement for each value of a row's field ``kind`` or ``language``."""
    lines = [f"| {what} | {' | '.join(parts)} |", f"| --- |{' ---: |' * len(parts)}"]
    values = {getattr(row, what) for rows in parts.values() for row in rows}
    for value in sorted(values):
        some = [[row for row in rows if getattr(row, what) == value] for rows in parts.values()]
        agreed = [agreement(rows) for rows in some]
        cells = [f"{each.agreed} of {each.n}" if each.n else "-" for each in agreed]
        lines.append(f"| {value} | {' | '.join(cells)} |")
    return lines


def _wrong(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.language} {row.kind} {'right' if row.right else 'wrong'}: {row.question} | "
        f"{' / '.join(row.references)} | {row.answer} -> {judge(row.question, row.references, row.answer).why.value}"
        for row in rows
        if not agrees(row)
    ]


def main() -> None:
    """Print the tables; with --wrong also where judge and person differ, the held part aside."""
    parser = argparse.ArgumentParser(prog="python -m evals.judge", description=__doc__)
    parser.add_argument(
        "rows", nargs="?", type=Path, help="your own rows, as evals/judge/rows.jsonl"
    )
    parser.add_argument("--wrong", action="store_true", help="show where judge and person differ")
    given = parser.parse_args()
    parts = _parts(given.rows)
    print("\n".join([*_whole(parts), "", *_by("kind", parts), "", *_by("language", parts)]))
    started = time.perf_counter()
    judged = sum(agreement(rows).n for rows in parts.values())
    print(f"\n{judged / (time.perf_counter() - started):,.0f} judgements a second.")
    if given.wrong:
        for name, rows in parts.items():
            print("\n".join(_wrong(rows) if name != "held" else []))


if __name__ == "__main__":
    main()
