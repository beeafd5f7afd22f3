"""Votes: which of several generations' answers to one question a person found best.

One line of JSON each in data/votes.jsonl, appended and never changed. The questions are a person's own, so git ignores
the file, as it does the inbox; the report shows the counts alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from luna.conversations import jsonl
from luna.errors import InputError

FILE = Path("data/votes.jsonl")
MOST = 3  # answers that are laid side by side


@dataclass(frozen=True)
class Pair:
    """What the votes say of two generations that answered the same questions; ``blind`` of the votes were cast without seeing the names."""

    a: str
    b: str
    a_better: int = 0
    b_better: int = 0
    neither: int = 0
    blind: int = 0


def add(
    root: Path, question: str, answers: Mapping[str, str], best: str | None, blind: bool
) -> None:
    """Keep a vote. ``answers`` by the full name of the generation; ``best`` is one of them, or None: neither is better.

    Raises InputError where it is no vote; then nothing is written.
    """
    if not 2 <= len(answers) <= MOST or not question.strip():
        raise InputError(f"A vote is on one question and two to {MOST} answers: compare first.")
    if best is not None and best not in answers:
        raise InputError(f"{best} was not among those compared: {', '.join(answers)}.")
    row = {
        "version": 1,
        "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "question": question,
        "answers": dict(answers),
        "best": best,
        "blind": blind,
    }
    line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > jsonl.MAX_LINE_BYTES:
        raise InputError(
            f"The vote is longer than {jsonl.MAX_LINE_BYTES:,} bytes: it was not kept."
        )
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.fstat(handle).st_size:  # half a line that a kill has left stays a line of its own
            os.lseek(handle, -1, os.SEEK_END)
            line = line if os.read(handle, 1) == b"\n" else b"\n" + line
        os.write(handle, line)  # in one write, at the end: two at once do not mix
        os.fsync(handle)
    finally:
        os.close(handle)


def pairs(root: Path) -> list[Pair]:
    """The counts for every two generations that were compared, in the order of their names. Lines that are no votes are left out."""
    counts: dict[tuple[str, str], list[int]] = {}
    for row in _rows(root / FILE):
        for a, b in combinations(sorted(row["answers"]), 2):
            if row["best"] not in (a, b, None):
                continue  # a third one was best, which says nothing of these two
            count = counts.setdefault((a, b), [0, 0, 0, 0])
            count[0 if row["best"] == a else 1 if row["best"] == b else 2] += 1
            count[3] += bool(row.get("blind"))
    return [Pair(a, b, *count) for (a, b), count in sorted(counts.items())]


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
            if isinstance(row["answers"], dict) and "best" in row:
                rows.append(row)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return rows
