"""Whether two tokens mean the same, whatever their ending, accent or way of writing a number."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import regex

from evals.facts.kinds import Kind, Token

_NUMBERS = (Kind.NUMBER, Kind.TIME)
_FIRST_UNSPACED = "\u0e00"  # Thai; what comes before is written with spaces
_LAST_PART = 6  # letters
_HOUR, _HALF_DAY = 60, 12 * 60
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_CLOCK = regex.compile(r"(\d{1,2})[.,]([0-5]\d)")
_LATIN = regex.compile(r"\p{Latin}")
_ENDINGS_OF_NAMES = frozenset({"", "s", "es", "n", "en", "e"})


def alike(one: Token, other: Token) -> bool:
    """Whether one token says what the other says."""
    if one.kind is Kind.WORD and other.kind is Kind.WORD:
        a, b = str(one.key), str(other.key)
        if a == b:
            return True
        if a[0] != b[0] and a[0] < _FIRST_UNSPACED and b[0] < _FIRST_UNSPACED:
            return _same_last_part(a, b)
        return same_word(a, b, one.capital and other.capital)
    if one.kind is Kind.CLOSED or other.kind is Kind.CLOSED:
        return one.kind is other.kind and one.sort is other.sort and one.key == other.key
    numbers = (one.kind in _NUMBERS) + (other.kind in _NUMBERS)
    if numbers == 1:
        return False
    return _same_number(one, other) if numbers == 2 else one.key == other.key


def among(token: Token, row: Iterable[Token]) -> bool:
    """Whether a token of the row says what the token says."""
    return any(alike(token, other) for other in row)


def _same_number(one: Token, other: Token) -> bool:
    a, b = float(one.key), float(other.key)
    if one.kind is other.kind:
        # 7:45 and 19:45 may be the same: a half of the day is a token of its own.
        return a == b or (one.kind is Kind.TIME and (a - b) % _HALF_DAY == 0)
    time, number = (a, b) if one.kind is Kind.TIME else (b, a)
    if clock := _CLOCK.fullmatch((other if one.kind is Kind.TIME else one).text):
        return (time - int(clock[1]) * _HOUR - int(clock[2])) % _HALF_DAY == 0  # 6.50 is 6:50
    return time % _HOUR == 0 and (time - number * _HOUR) % _HALF_DAY == 0


def unspaced(word: str) -> bool:
    """Whether a word is in a script without spaces."""
    return _UNSPACED.match(word) is not None


def _same_last_part(one: str, other: str) -> bool:
    """Whether one word is the last part of the other, a compound: that part says what it is."""
    short, long = (one, other) if len(one) < len(other) else (other, one)
    return len(short) >= _LAST_PART and long.endswith(short)


@functools.lru_cache(maxsize=65536)
def same_word(one: str, other: str, name: bool) -> bool:
    """Whether two words are forms of one: by a common beginning, in scripts without spaces by a common part."""
    if _UNSPACED.search(one) or _UNSPACED.search(other):
        short, long = sorted((one, other), key=len)
        return len(short) > 1 and short in long and len(short) >= 0.5 * len(long)
    common = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        common += 1
    tails = one[common:], other[common:]
    longest = max(map(len, tails))
    if "\uac00" <= one[0] <= "\ud7a3":
        return (
            common >= 2
            and max(len(one), len(other)) >= 4
            and common >= len(min(one, other, key=len)) - 1
        )
    if _LATIN.match(one):
        if name:
            return common >= 3 and set(tails) <= _ENDINGS_OF_NAMES
        if min(map(len, tails)) == 0:
            return common >= 3 and longest <= max(1, common - 2)
        return _same_last_part(one, other) or (common >= 5 and longest <= 3)
    if min(map(len, tails)) == 0:
        return common >= 3 and longest <= 3
    return common >= 3 and longest <= 3 and common >= 0.5 * max(len(one), len(other))
