"""Text from a conversation or a model as one line of a table or list in Markdown."""

from __future__ import annotations


def as_cell(text: str, limit: int = 160) -> str:
    """One line of at most ``limit`` characters, unable to end the cell or to mark it up."""
    text = " ".join(text.split())
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    for mark in "\\`*_{}[]<>|#":
        text = text.replace(mark, "\\" + mark)
    return text
