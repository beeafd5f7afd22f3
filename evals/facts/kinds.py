"""What a token is: a word, a number, an item of a closed list, or a word that steers the sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from evals.facts.languages import CLOSED, Known, Sort, bare


class Kind(IntEnum):
    """What a token is to the judge; up to CODE it may carry a fact."""

    WORD = 0
    NUMBER = 1
    TIME = 2  # minutes after midnight
    CLOSED = 3
    CODE = 4  # compared as it stands
    KNOWN = 5  # negation, or, but, function word ...
    END = 6  # of a clause


@dataclass(frozen=True, slots=True)
class Token:
    """``text`` as written; ``key`` is what is compared; ``sort`` for what a list knows."""

    kind: Kind
    text: str
    key: str | float
    sort: Sort | None = None
    soft: bool = False  # a number that may be an article
    capital: bool = False

    @property
    def content(self) -> bool:
        """Whether it may carry a fact."""
        return self.kind <= Kind.CODE


def number(value: float) -> Token:
    """A number."""
    return Token(Kind.NUMBER, f"{value:g}", float(value))


def closed(sort: Sort, value: float, text: str) -> Token:
    """An item of a closed list."""
    return Token(Kind.CLOSED, text, float(value), sort)


def of_known(known: Known, text: str, capital: bool = False) -> Iterator[Token]:
    """The token, or two, of a form that a list knows."""
    if known.also is not None:
        yield Token(Kind.KNOWN, text, text, known.also)
    if known.sort in CLOSED:
        yield closed(known.sort, known.value, text)
    elif known.sort is Sort.NUMBER:
        yield Token(Kind.NUMBER, text, known.value, known.sort, known.value == 1)
    elif known.sort in (Sort.CLOCK, Sort.CLOCK_AFTER):
        yield Token(Kind.KNOWN, text, known.value, known.sort)
    else:
        yield Token(Kind.KNOWN, text, bare(text), known.sort, capital=capital)
