"""What a generation has kept of its base's general ability, in the words of EVAL.md and the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luna.promotion.cell import as_cell

_MARKED = 1.15  # times the base's perplexity, from which it is marked


def lines(details: Mapping[str, Any] | None) -> list[str]:
    """A paragraph of EVAL.md; ``details`` of the ability score. Nothing where nothing was asked."""
    if not details or not details["by_kind"]:
        return []
    kinds = ", ".join(
        f"{kind} {count['kept']} of {count['of']}" for kind, count in details["by_kind"].items()
    )
    lost = [f"- {as_cell(ask)} → {as_cell(answer)}" for ask, answer in details["lost"]]
    return [
        "",
        "## What is kept of the base",
        "",
        f"Of the general questions that the base answers rightly, by kind: {kinds}.",
        *text_lines(details),
        *(["", "**Lost**", "", *lost] if lost else []),
    ]


def text_lines(details: Mapping[str, Any]) -> list[str]:
    """A sentence about general text; none where none was read."""
    prose, own = details["prose"], details["own_answers"]
    if prose["perplexity"] is None:
        return []
    answers = "" if own["change"] is None else f", its own answers {-own['change']:+.3f}"
    return [
        f"General text is less likely to it than to the base by so many nats a token: prose {-prose['change']:+.3f} "
        f"({prose['perplexity']:.2f} times the base's perplexity){answers}."
    ]


def card(details: Mapping[str, Any] | None) -> list[str]:
    """A line of the card on general text."""
    if not details or details["prose"]["perplexity"] is None:
        return []
    times = details["prose"]["perplexity"]
    return [
        f"- **Perplexity of general prose**: {times:.2f} times the base's{' ⚠' if times > _MARKED else ''}"
    ]
