"""What fingers do to a question in any language: case, marks, exchanged letters, moved words."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_LETTERS_A_SLIP = 25  # characters of a question for each slip of the exam, so that a long one changes as a short one does
_LETTERS_A_SWAP = 20  # the same, at most, in training
_SHORTEST = 4  # letters of a word in which a slip leaves the word readable
_WORD = re.compile(r"[^\W\d_]+")
_LAST_MARK = re.compile(r"\s*[?？.。!]+\s*$")

Slip = Callable[[str, random.Random], str]


def _slippery(text: str) -> list[re.Match[str]]:
    """Words that may have a slip: no name and nothing with a digit."""
    return [
        word
        for word in _WORD.finditer(text)
        if len(word[0]) >= _SHORTEST and word[0].islower() and not _beside_digit(text, word)
    ]


def _beside_digit(text: str, word: re.Match[str]) -> bool:
    return any(c.isdigit() or c in "_@" for c in text[word.start() - 1 : word.start()]) or any(
        c.isdigit() or c in "_@" for c in text[word.end() : word.end() + 1]
    )


def lower(text: str, _: random.Random) -> str:
    """All in lower case."""
    return text.lower()


def no_mark(text: str, _: random.Random) -> str:
    """Without the mark at the end."""
    return _LAST_MARK.sub("", text)


def more_marks(text: str, chance: random.Random) -> str:
    """With other marks at the end."""
    return _LAST_MARK.sub("", text) + chance.choice(("??", "...", " ?", "?!", " -"))


def swapped(text: str, chance: random.Random) -> str:
    """Two letters within a word exchanged; in a long text, in several words."""
    words = _slippery(text)
    many = chance.randint(1, max(1, len(text) // _LETTERS_A_SWAP))
    for word in chance.sample(words, min(len(words), many)):
        at = word.start() + chance.randrange(1, len(word[0]) - 2)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text


def first_word_last(text: str, _: random.Random) -> str:
    """The first word moved to the end, as in a telegram."""
    first, _gap, rest = _LAST_MARK.sub("", text).partition(" ")
    return f"{rest}, {first}?" if " " in rest else text


def doubled(text: str, chance: random.Random) -> str:
    """Letters typed twice, several of them in a long text; in scripts without case, any letter."""
    words = _slippery(text)
    if words:
        spots = [chance.randrange(word.start() + 1, word.end() - 1) for word in words]
    else:
        spots = [i for i, letter in enumerate(text) if letter.isalpha() and not letter.isupper()]
    many = min(len(spots), max(1, len(text) // _LETTERS_A_SLIP))
    for spot in sorted(chance.sample(spots, many), reverse=True):
        text = text[: spot + 1] + text[spot] + text[spot + 1 :]
    return text


def last_word_first(text: str, _: random.Random) -> str:
    """The last word moved to the front."""
    rest, _gap, last = _LAST_MARK.sub("", text).rpartition(" ")
    return f"{last}: {rest}?" if " " in rest else text


#: No slip is in both.
TRAINING: tuple[Slip, ...] = (lower, no_mark, more_marks, swapped, swapped, first_word_last)
EXAM: tuple[Slip, ...] = (doubled, last_word_first)
