"""Makes text from outside (file names, keys, a model's words) safe to print on a terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

#: Control characters (ESC begins a terminal's commands), direction and other invisible marks, lone
#: surrogates (a file name that is no UTF-8), and the two separators that break a line.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


_JOINERS = "\u200c\u200d"  # parts of words in Persian and of emoji


def escaped(text: str, keep: str = "") -> str:
    """``text`` with every character that a terminal would obey, hide or fail on written as an escape.

    ``keep`` names characters that stay as they are, such as a line break in a text of several lines.
    """
    return _replaced(text, keep, lambda character: character.encode("unicode_escape").decode())


def escaped_json(text: str) -> str:
    """The same for a JSON document, which stays the same document."""
    return _replaced(text, "\n", lambda character: json.dumps(character)[1:-1])


def _replaced(text: str, keep: str, escape: Callable[[str], str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        escape(character)
        if unicodedata.category(character) in _UNPRINTABLE
        and character not in keep
        and character not in _JOINERS
        else character
        for character in text
    )


_NO_REASON = "no reason given"


def first_line(error: object) -> str:
    """The first line of what an exception says, where it says anything."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), _NO_REASON)


def last_line(complaints: str) -> str:
    """The last line of a program's complaints, which is mostly the one that says why."""
    return first_line("\n".join(reversed(complaints.splitlines())))
