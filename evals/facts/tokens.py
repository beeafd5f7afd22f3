"""A text as a row of tokens: each a word, a number, a name of a closed list, or a word that steers the sentence."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import regex

from evals.facts import numbers
from evals.facts.languages import CLOSED, Known, Lexicon, Sort, bare, lexicon
from evals.facts.text import UNSPACED, one_form


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


_SYMBOLS = {"€": 0.0, "$": 1.0, "£": 2.0, "¥": 3.0, "₹": 5.0, "₽": 6.0}
_LETTER = r"[\p{L}\p{M}\p{N}_]"
_SCAN = regex.compile(
    rf"""
    (?P<code>https?://\S+[\w/]|[\w.+-]+@[\w-]+\.[\w.]*\w|(?<![^\s(])--?[A-Za-z][\w-]*|(?<![\w/])(?:/[\w.-]+)+\w|(?<!\w)[A-Za-z]\w*[+\#]+(?!\w))
    |(?P<iso>(?<!\d)\d{{4}}-\d{{2}}-\d{{2}}(?!\d))
    |(?P<dmy>(?<![\d.])\d{{1,2}}\.\ ?(?:0?[1-9]|1[0-2])\.(?:\ ?\d{{4}}|\d{{2}})?(?![\d]))
    |(?P<slashed>(?<![\d/])\d{{1,2}}/\d{{1,2}}(?:/\d{{4}}|/\d{{2}})?(?![\d/]))
    |(?P<time>(?<![\d.,])\d{{1,2}}(?:\ ?[:h]\ ?[0-5]\d(?!\d)|\.[0-5]\d(?=\ ?Uhr)|\ ?[時时点點시]\ ?(?:半|반|[0-5]?\d(?:\ ?[分분])?|(?![間间간半반\d]))|\ ?heures?\ [0-5]\d\b))
    |(?P<month>(?<!\d)(?:1[0-2]|[1-9])\ ?[月월])
    |(?P<id>(?<![\w.])0\d+(?:[\ /-]{{1,3}}\d{{2,}})+(?!\w)|(?<![\w.])\d{{2,}}(?:-\d+){{2,}}(?!\w)|(?<![\w.])\d{{3,}}-\d{{2,}}(?!\w))
    |(?P<version>(?<![\w.])\d+(?:\.\d+){{2,}}(?!\w))
    |(?P<number>(?:(?<![^\s(:：])-)?\d{{1,3}}(?P<mark>[.,'\ ])\d{{3}}(?:(?P=mark)\d{{3}})*(?:[.,]\d+)?(?!\d)|(?:(?<![^\s(:：])-)?\d+(?:[.,]\d+)*)
    |(?P<unspaced>(?:[{UNSPACED}]\p{{M}}*)+)
    |(?P<word>[\p{{L}}\p{{M}}]{_LETTER}*(?:[-'.](?=\p{{L}}){_LETTER}+)*)
    |(?P<money>[€$£¥₹₽])
    |(?P<end>[.;:!?…,、。，；：！？()（）—–\n।؟،؛«»])
    """,
    regex.VERBOSE,
)
_ORDINAL = regex.compile(r"(?<=\d)(?:st|nd|rd|th|er|ère|ème|e|º|ª)(?![\p{L}\p{N}])")
_JAPANESE_OR = regex.compile(r"(?<=[\p{Han}\p{Katakana}んー])か(?=[\p{Han}\p{Katakana}])")
_KOREAN_OR = regex.compile(r"(?<=\p{Hangul})(?<!누구|언제|어디)(?:이나|나|이거나) (?=\p{Hangul})")
_DIGITS = regex.compile(r"\d+")
_KANA_OR_NOT = regex.compile(r"\p{Hiragana}+|[^\p{Hiragana}]+")
_HAN = regex.compile(r"\p{Han}")
_MARK = regex.compile(r"\p{M}")
_PIECES = regex.compile(r"[-'.]")
_ONLY_AS_NAME = frozenset({"may", "march", "sat", "sun", "mar", "mon", "fri", "jan"})
_KOREAN_TAIL = regex.compile(
    r"(?:은|는|이|가|을|를|의|에|에서|로|으로|와|과|도|만|부터|까지|요|입니다|이에요|예요|이요|에게|께서|씨|님)+$"
)
_ARABIC_HEAD = regex.compile(r"^(?:[وف]?[بك]?ال|[وف]?لل)(?=\p{L}{2})")


def tokens(text: str, languages: tuple[str, ...]) -> tuple[Token, ...]:
    """The tokens of a text in the given languages."""
    return _tokens(text, languages)


@functools.lru_cache(maxsize=16384)
def _tokens(text: str, languages: tuple[str, ...]) -> tuple[Token, ...]:
    words = lexicon(languages)
    plain = one_form(text)
    if "ja" in languages or "zh" in languages:
        plain = _JAPANESE_OR.sub("または", plain) if "ja" in languages else plain
        plain = numbers.han_digits(plain)
    if "ko" in languages:
        plain = _KOREAN_OR.sub(" 또는 ", numbers.hangul_digits(plain))
    plain = _ORDINAL.sub("", plain)
    return tuple(_clock(list(_joined(list(_scanned(plain, words)), words))))


def _scanned(text: str, words: Lexicon) -> Iterator[Token]:
    at_start = True
    for found in _SCAN.finditer(text):
        group, whole = found.lastgroup, found[0]
        if found["number"]:
            group = "number"
        if group == "code":
            yield Token(Kind.CODE, whole, whole.casefold())
        elif group == "iso":
            year, month, day = map(int, whole.split("-"))
            yield from (_number(year), _closed(Sort.MONTH, month - 1, whole), _number(day))
        elif group == "dmy":
            day, month, *year = _DIGITS.findall(whole)
            yield from (_number(int(day)), _closed(Sort.MONTH, int(month) - 1, whole))
            if year:
                yield _number(int(year[0]))
        elif group == "slashed":
            yield from _slashed(
                list(map(int, _DIGITS.findall(whole))), whole, "en" in words.languages
            )
        elif group == "time":
            hour, *minute = map(int, _DIGITS.findall(whole))
            yield Token(
                Kind.TIME,
                whole,
                float(hour * 60 + (minute[0] if minute else 30 if whole[-1] in "半반" else 0)),
            )
            if hour > 12:
                yield _closed(Sort.HALF, 1, whole)
        elif group == "month":
            yield _closed(Sort.MONTH, int(_DIGITS.findall(whole)[0]) - 1, whole)
        elif group == "id":
            yield _number(float("".join(_DIGITS.findall(whole))))
        elif group == "version":
            yield Token(Kind.CODE, whole, whole)
        elif group == "number":
            yield Token(Kind.NUMBER, whole, numbers.from_digits(whole))
        elif group == "unspaced":
            yield from _cut(whole, words)
        elif group == "word":
            yield from _words(whole, words, at_start)
        elif group == "money":
            yield _closed(Sort.MONEY, _SYMBOLS[whole], whole)
        else:
            yield Token(Kind.END, whole, whole)
        at_start = group == "end" and whole in ".!?…\n:"


def _slashed(parts: list[int], text: str, month_first: bool) -> Iterator[Token]:
    """A date with strokes: the day first, but in English the month; a fraction where no month is in it."""
    month, day = parts[:2] if month_first else parts[1::-1]
    if month > 12 >= day:
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        yield from map(_number, parts)
        return
    yield from (_number(day), _closed(Sort.MONTH, month - 1, text))
    yield from map(_number, parts[2:])


def _number(value: float) -> Token:
    return Token(Kind.NUMBER, f"{value:g}", float(value))


def _closed(sort: Sort, value: float, text: str) -> Token:
    return Token(Kind.CLOSED, text, float(value), sort)


def _of(known: Known, text: str, capital: bool = False) -> Iterator[Token]:
    if known.also is not None:
        yield Token(Kind.KNOWN, text, text, known.also)
    if known.sort in CLOSED:
        yield _closed(known.sort, known.value, text)
    elif known.sort is Sort.NUMBER:
        yield Token(Kind.NUMBER, text, known.value, known.sort, known.value == 1)
    elif known.sort in (Sort.CLOCK, Sort.CLOCK_AFTER):
        yield Token(Kind.KNOWN, text, known.value, known.sort)
    else:
        yield Token(Kind.KNOWN, text, bare(text), known.sort, capital=capital)


def _cut(run: str, words: Lexicon) -> Iterator[Token]:
    """A run of a script without spaces, cut at the forms that are known; what lies between is a word."""
    start = 0
    for found in words.cut.finditer(run) if words.cut else ():
        if _MARK.match(run, found.end()) or _within_kana(run, found.start(), found.end()):
            continue  # a vowel sign belongs to the letter before it
        yield from _rest(run[start : found.start()], run[start - 1 : start])
        yield from _of(words.unspaced[found[0]], found[0])
        start = found.end()
    yield from _rest(run[start:], run[start - 1 : start] if start else "")


def _kana(letter: str) -> bool:
    return "\u3041" <= letter <= "\u309f"


def _within_kana(run: str, start: int, end: int) -> bool:
    """Whether a short form in Hiragana stands within a word: a particle follows another script, or ends its row of Hiragana."""
    if end - start > 2 or not all(map(_kana, run[start:end])):
        return False
    return start > 0 and _kana(run[start - 1]) and end < len(run) and _kana(run[end])


def _rest(run: str, before: str) -> Iterator[Token]:
    """The words of a run without known forms. Hiragana behind a Chinese character is its ending."""
    for part in _KANA_OR_NOT.findall(run):
        ending = _kana(part[0]) and (len(part) < 2 or (_HAN.match(before) and len(part) < 4))
        before = part[-1]
        if not ending:
            yield Token(Kind.WORD, part, part)


def _words(word: str, words: Lexicon, at_start: bool) -> Iterator[Token]:
    capital = word[0] != word[0].casefold() and not at_start
    for form in (word, word.replace(".", "")):
        known = words.look_up(bare(form))
        if known and (capital or bare(form) not in _ONLY_AS_NAME):
            yield from _of(known, word, capital)
            return
    if parts := words.number_parts(bare(word.replace("-", ""))):
        for value, part in parts:
            yield Token(Kind.NUMBER, part, value, Sort.NUMBER)
        return
    pieces = [piece for piece in _PIECES.split(word) if piece]
    if len(pieces) > 1:
        for piece in pieces:
            if piece == "free" and piece is pieces[-1]:  # caffeine-free
                yield Token(Kind.KNOWN, piece, piece, Sort.NEGATION)
            else:
                yield from _words(piece, words, at_start)
        return
    if bare(word) == "may":
        yield Token(Kind.KNOWN, word, "may", Sort.OPEN)
        return
    key = bare(word)
    if (len(word) == 1 and word.isascii()) or _DIGITS.search(word):
        yield Token(Kind.CODE, word, key)
        return
    if not key:
        return  # marks without a letter
    stem = key
    if "\uac00" <= key[0] <= "\ud7a3" and len(key) > 1:
        stem = _KOREAN_TAIL.sub("", key) or key
    elif "\u0600" <= key[0] <= "\u06ff":
        stem = _ARABIC_HEAD.sub("", key)
    if stem != key and (known := words.look_up(stem)):
        yield from _of(known, word)
        return
    yield Token(Kind.WORD, word, stem, capital=capital)


def _joined(row: list[Token], words: Lexicon) -> Iterator[Token]:
    """Phrases of several words as one token, number words as one number, a minus with its number."""
    at = 0
    while at < len(row):
        token = row[at]
        if token.kind in (Kind.WORD, Kind.KNOWN) and (known := _phrase(row, at, words)):
            length, meaning = known
            yield from _of(meaning, " ".join(item.text for item in row[at : at + length]))
            at += length
        elif token.sort is Sort.NUMBER:
            end, said = at, []
            while end < len(row):
                item = row[end]
                join = bare(item.text) in words.joins and end + 1 < len(row)
                if item.sort is Sort.NUMBER:
                    said.append((float(item.key), bare(item.text)))
                elif not (join and row[end + 1].sort is Sort.NUMBER):
                    break
                end += 1
            values = numbers.from_words(said)
            soft = len(said) == 1 and token.soft
            text = " ".join(item.text for item in row[at:end])
            for value in values:
                yield Token(Kind.NUMBER, text, value, None, soft)
            at = end
        elif token.sort is Sort.MINUS and at + 1 < len(row) and row[at + 1].kind is Kind.NUMBER:
            following = next(iter(_joined(row[at + 1 :], words)))
            yield Token(Kind.NUMBER, following.text, -float(following.key))
            rest = row[at + 1 :]
            consumed = 1
            while consumed < len(rest) and rest[consumed].sort is Sort.NUMBER:
                consumed += 1
            at += 1 + consumed
        else:
            if token.sort in (Sort.MINUS, Sort.JOIN, Sort.INSIDE):
                token = Token(Kind.KNOWN, token.text, token.key, Sort.FUNCTION)
            yield token
            at += 1


def _clock(row: list[Token]) -> Iterator[Token]:
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


def _phrase(row: list[Token], at: int, words: Lexicon) -> tuple[int, Known] | None:
    for phrase, known in words.phrases.get(bare(row[at].text), ()):
        here = row[at : at + len(phrase)]
        if len(here) == len(phrase) and all(
            bare(item.text) == word for item, word in zip(here, phrase, strict=True)
        ):
            return len(phrase), known
    return None
