"""Whether two tokens mean the same, whatever their ending, accent or way of writing a number."""

from __future__ import annotations

import functools

import regex

from evals.judge.tokens import Kind, Token

_HOUR, _HALF_DAY = 60, 12 * 60
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_CLOCK = regex.compile(r"(\d{1,2})[.,]([0-5]\d)")
_LATIN = regex.compile(r"\p{Latin}")
_ENDINGS_OF_NAMES = frozenset({"", "s", "es", "n", "en", "e"})


def alike(one: Token, other: Token) -> bool:
    """Whether one token says what the other says."""
    if one.kind is Kind.CLOSED or other.kind is Kind.CLOSED:
        return one.kind is other.kind and one.sort is other.sort and one.key == other.key
    numbers = (Kind.NUMBER, Kind.TIME)
    if one.kind in numbers and other.kind in numbers:
        return _same_number(one, other)
    if one.kind in numbers or other.kind in numbers:
        return False
    if one.key == other.key:
        return True
    if one.kind is not Kind.WORD or other.kind is not Kind.WORD:
        return False
    return same_word(str(one.key), str(other.key), one.capital and other.capital)


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


@functools.lru_cache(maxsize=65536)
def same_word(one: str, other: str, name: bool) -> bool:
    """Whether two words are forms of one: by a common beginning, in scripts without spaces by a common part."""
    if one == other:
        return True
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
        short, long = sorted((one, other), key=len)
        if len(short) >= 6 and long.endswith(short):
            return True  # the last part of a compound says what it is
        return common >= 5 and longest <= 3
    if min(map(len, tails)) == 0:
        return common >= 3 and longest <= 3
    return common >= 3 and longest <= 3 and common >= 0.5 * max(len(one), len(other))
