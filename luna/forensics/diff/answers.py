"""Probes that changed from right to wrong, or back, between two generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luna import artifacts, files
from luna.forensics.diff.known import Known, in_cache
from luna.promotion import compare


def section(root: Path, a: Known, b: Known) -> dict[str, Any]:
    """``lost`` and ``won`` are None, and ``note`` says why, where the answers are not on this machine."""
    rows = {}
    for known in (a, b):
        path = in_cache(root, known, artifacts.ANSWERS)
        if path is None:
            return _unknown(
                f"the answers of {known.short} are not in this clone's cache: run 'luna restore {known.short}'"
            )
        try:
            rows[known.short] = {row["probe"]: row for row in files.read_jsonl(path)}
            for row in rows[known.short].values():
                _flip(row, row)
        except (ValueError, KeyError, TypeError, IndexError, OSError):
            return _unknown(
                f"the answers of {known.short} cannot be read: run 'luna restore {known.short}'"
            )
    before, after = rows[a.short], rows[b.short]
    flips = compare.flips(list(after.values()), before.values())
    return {
        "note": None,
        "common": flips.common,
        "only_in_a": len(before) - flips.common,
        "only_in_b": len(after) - flips.common,
        "lost": [_flip(before[row["probe"]], row) for row in flips.lost],
        "won": [_flip(before[row["probe"]], row) for row in flips.won],
        "p_worse": {
            kind: flips.regression(kind)
            for kind in sorted({row["kind"] for row in (*flips.lost, *flips.won)})
        },
    }


def _unknown(note: str) -> dict[str, Any]:
    return {
        "note": note,
        "common": None,
        "only_in_a": None,
        "only_in_b": None,
        "lost": None,
        "won": None,
        "p_worse": None,
    }


def _flip(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {
        "probe": now["probe"],
        "kind": str(now["kind"]),
        "question": str(now["messages"][-1][1]),
        "expected": " / ".join(map(str, now["expect"])) or str(now["reference"]),
        "a": str(before["text"]),
        "b": str(now["text"]),
        "right": {"a": bool(before["correct"]), "b": bool(now["correct"])},
    }
