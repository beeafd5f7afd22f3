"""Code in answers: blocks, compared by their structure, and commands, compared as they stand."""

from __future__ import annotations

import regex

_FENCE = regex.compile(r"```[\w+#-]*\n?(.*?)(?:```|\Z)", regex.DOTALL)
_INLINE = regex.compile(r"`([^`\n]+)`")
_PIECE = regex.compile(r"[^\W\d]\w*|\d+(?:\.\d+)?|\"[^\"\n]*\"|'[^'\n]*'|[^\w\s]")


def blocks(text: str) -> list[str]:
    """The fenced blocks of a text."""
    return [block for block in _FENCE.findall(text) if block.strip()]


def inline(text: str) -> list[str]:
    """The short pieces of code in a text, with one blank wherever there are any."""
    return [" ".join(piece.split()) for piece in _INLINE.findall(_FENCE.sub(" ", text))]


def without(text: str) -> str:
    """The text without its code."""
    return _INLINE.sub(" ", _FENCE.sub(" ", text))


def structure(block: str) -> list[str]:
    """The block's pieces; a name that occurs twice stands as the number of its first occurrence, so that renaming changes nothing."""
    pieces = _PIECE.findall(block)
    names: dict[str, str] = {}
    return [
        names.setdefault(piece, f"name {len(names)}")
        if (piece[0].isalpha() or piece[0] == "_") and pieces.count(piece) > 1
        else piece
        for piece in pieces
    ]


def holds(text: str, piece: str) -> bool:
    """Whether a piece of code stands in a text by itself."""
    plain = " ".join(text.replace("`", " ").split())
    return regex.search(rf"(?<![\w-]){regex.escape(piece)}(?![\w-])", plain) is not None
