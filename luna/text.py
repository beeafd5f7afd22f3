"""Text from outside (names of files, keys, words of a model) made safe to print on a terminal."""

from __future__ import annotations

import unicodedata

#: Control characters (ESC begins a terminal's commands), direction and other invisible marks, lone
#: surrogates (a file name that is no UTF-8), and the two separators that break a line.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def escaped(text: str, keep: str = "") -> str:
    """``text`` with every character that a terminal would obey, hide or fail on written as an escape.

    ``keep`` names characters that stay as they are, such as a line break in a text of several lines.
    """
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _UNPRINTABLE
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
