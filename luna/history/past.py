"""The ledger as the sealed commits have it, never as the workspace has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luna import artifacts
from luna.ledger import AsFirstSealed, altered_rows
from luna.repo.git import Git, Tag
from luna.scores import ABILITY


def ledger_of_seals(git: Git, sealed: Mapping[int, Tag]) -> str:
    """Each generation's row as it was first sealed. Where no seal altered a past row, that is the newest sealed ledger.

    All sealed ledgers are read, one at a time: those of a long line are its square.
    """
    ledger = AsFirstSealed()
    read = git.reader()
    for number in sorted(sealed):
        text = read(f"{sealed[number].commit}:{artifacts.LEDGER}")
        if text is not None:
            ledger.add(number, text.decode("utf-8", "replace"))
    read.close()
    return ledger.text


def altered_at_tip(git: Git, sealed: Mapping[int, Tag]) -> list[str]:
    """Rows and columns in which the ledger of the commit checked out is not the sealed one, where it holds the newest generation."""
    if not sealed:
        return []
    newest = sealed[max(sealed)].commit
    was, now = git.cat([f"{newest}:{artifacts.LEDGER}", f"HEAD:{artifacts.LEDGER}"])
    if was is None or (now or b"").startswith(was) or not git.is_ancestor(newest, "HEAD"):
        return []
    return altered_rows(ledger_of_seals(git, sealed), (now or b"").decode("utf-8", "replace"))


def ledger_here(git: Git, sealed: Mapping[int, Tag]) -> str:
    """As ``ledger_of_seals``, for commands that only look: all seals are read only where the tip and the newest seal differ."""
    if not sealed:
        return ""
    newest = sealed[max(sealed)].commit
    was, now = git.cat([f"{newest}:{artifacts.LEDGER}", f"HEAD:{artifacts.LEDGER}"])
    if was is not None and (now in (was, None) or not git.is_ancestor(newest, "HEAD")):
        return was.decode("utf-8", "replace")
    return ledger_of_seals(git, sealed)


@dataclass(frozen=True)
class Judged:
    """How generations were judged, by number: ``measures`` by which (None: it does not say), and how much of the base each ``kept``."""

    measures: dict[int, str | None]
    kept: dict[int, float | None]


def judged(git: Git, commits: Mapping[int, str]) -> Judged:
    """From the sealed commits, in one git process."""
    texts = git.cat([f"{commit}:{artifacts.METRICS.as_posix()}" for commit in commits.values()])
    scores = [_evaluation(text) for text in texts]
    return Judged(
        {number: one.get("method") for number, one in zip(commits, scores, strict=True)},
        {number: one.get(ABILITY.key) for number, one in zip(commits, scores, strict=True)},
    )


def _evaluation(metrics: bytes | None) -> dict[str, Any]:
    try:
        scores = json.loads(metrics or b"")["evaluation"]
    except (ValueError, KeyError, TypeError):  # damaged: for 'luna verify'
        return {}
    return scores if isinstance(scores, dict) else {}
