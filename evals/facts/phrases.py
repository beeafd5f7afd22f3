"""Tokens that belong together: phrases, numbers of several words, times of the day in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evals.facts import numbers
from evals.facts.kinds import Kind, Token, of_known
from evals.facts.languages import Known, Lexicon, Sort, bare


def joined(row: Sequence[Token], words: Lexicon) -> Iterator[Token]:
    """Phrases of several words as one token, number words as one number, a minus with its number."""
    at = 0
    while at < len(row):
        token = row[at]
        if token.kind in (Kind.WORD, Kind.KNOWN) and (known := _phrase(row, at, words)):
            length, meaning = known
            yield from of_known(meaning, " ".join(item.text for item in row[at : at + length]))
            at += length
        elif token.sort is Sort.NUMBER:
            length, spoken = _spoken(row, at, words)
            yield from spoken
            at += length
        elif token.sort is Sort.MINUS and at + 1 < len(row) and row[at + 1].kind is Kind.NUMBER:
            length, first = 1, row[at + 1]
            if first.sort is Sort.NUMBER:
                length, (first, *_) = _spoken(row, at + 1, words)
            yield Token(Kind.NUMBER, first.text, -float(first.key))
            at += 1 + length
        else:
            if token.sort in (Sort.MINUS, Sort.JOIN, Sort.INSIDE):
                token = Token(Kind.KNOWN, token.text, token.key, Sort.FUNCTION)
            yield token
            at += 1


def _spoken(row: Sequence[Token], at: int, words: Lexicon) -> tuple[int, list[Token]]:
    """How many tokens from ``at`` on are number words, and the numbers that they make."""
    end, values = at, []
    while end < len(row):
        item = row[end]
        if item.sort is Sort.NUMBER:
            values.append((float(item.key), bare(item.text)))
        elif not (
            bare(item.text) in words.joins
            and end + 1 < len(row)
            and row[end + 1].sort is Sort.NUMBER
        ):
            break
        end += 1
    text = " ".join(item.text for item in row[at:end])
    soft = len(values) == 1 and row[at].soft
    return end - at, [
        Token(Kind.NUMBER, text, value, None, soft) for value in numbers.from_words(values)
    ]


def clock(row: Sequence[Token]) -> Iterator[Token]:
    """Times of the day that are said in words: 'half past seven', 'siete y media', 'neun Uhr'."""
    at = 0
    while at < len(row):
        token, following = row[at], row[at + 1 : at + 3]
        if token.sort is Sort.CLOCK and following and _hour(following[0]):
            yield _time(
                float(following[0].key), float(token.key), f"{token.text} {following[0].text}"
            )
            at += 2
        elif _hour(token) and (after := _minutes_after(following)) is not None:
            length, minutes = after
            yield _time(float(token.key), minutes, token.text)
            at += 1 + length
        else:
            known = token.sort in (Sort.CLOCK, Sort.CLOCK_AFTER, Sort.HOUR)
            yield Token(Kind.KNOWN, token.text, token.text, Sort.FUNCTION) if known else token
            at += 1


def _hour(token: Token) -> bool:
    return token.kind is Kind.NUMBER and float(token.key) in range(25)


def _minutes_after(following: Sequence[Token]) -> tuple[int, float] | None:
    """How many tokens behind an hour belong to it, and the minutes that they add; None where none does."""
    hour = bool(following) and following[0].sort is Sort.HOUR
    rest = following[1:] if hour else following
    if rest and rest[0].sort is Sort.CLOCK_AFTER:
        return hour + 1, float(rest[0].key)
    return (1, 0.0) if hour else None


def _time(hour: float, minutes: float, text: str) -> Token:
    return Token(Kind.TIME, text, (hour * 60 + minutes) % (24 * 60))


def _phrase(row: Sequence[Token], at: int, words: Lexicon) -> tuple[int, Known] | None:
    for phrase, known in words.phrases.get(bare(row[at].text), ()):
        here = row[at : at + len(phrase)]
        if len(here) == len(phrase) and all(
            bare(item.text) == word for item, word in zip(here, phrase, strict=True)
        ):
            return len(phrase), known
    return None
