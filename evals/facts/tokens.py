"""A text as a row of tokens."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import regex

from evals.facts import numbers, phrases
from evals.facts.kinds import Kind, Token, closed, number, of_known
from evals.facts.languages import Lexicon, Sort, bare, lexicon
from evals.facts.text import UNSPACED, one_form

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


@functools.lru_cache(maxsize=16384)
def tokens(text: str, languages: tuple[str, ...]) -> tuple[Token, ...]:
    """The tokens of a text in the given languages."""
    words = lexicon(languages)
    plain = one_form(text)
    if "ja" in languages or "zh" in languages:
        plain = _JAPANESE_OR.sub("または", plain) if "ja" in languages else plain
        plain = numbers.han_digits(plain)
    if "ko" in languages:
        plain = _KOREAN_OR.sub(" 또는 ", numbers.hangul_digits(plain))
    plain = _ORDINAL.sub("", plain)
    return tuple(phrases.clock(list(phrases.joined(list(_scanned(plain, words)), words))))


def _scanned(text: str, words: Lexicon) -> Iterator[Token]:
    at_start = True
    for match in _SCAN.finditer(text):
        group, whole = match.lastgroup, match[0]
        if match["number"]:
            group = "number"
        if group == "code":
            yield Token(Kind.CODE, whole, whole.casefold())
        elif group == "iso":
            year, month, day = map(int, whole.split("-"))
            yield from (number(year), closed(Sort.MONTH, month - 1, whole), number(day))
        elif group == "dmy":
            day, month, *year = _DIGITS.findall(whole)
            yield from (number(int(day)), closed(Sort.MONTH, int(month) - 1, whole))
            if year:
                yield number(int(year[0]))
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
                yield closed(Sort.HALF, 1, whole)
        elif group == "month":
            yield closed(Sort.MONTH, int(_DIGITS.findall(whole)[0]) - 1, whole)
        elif group == "id":
            yield number(float("".join(_DIGITS.findall(whole))))
        elif group == "version":
            yield Token(Kind.CODE, whole, whole)
        elif group == "number":
            yield Token(Kind.NUMBER, whole, numbers.from_digits(whole))
        elif group == "unspaced":
            yield from _cut(whole, words)
        elif group == "word":
            yield from _words(whole, words, at_start)
        elif group == "money":
            yield closed(Sort.MONEY, _SYMBOLS[whole], whole)
        else:
            yield Token(Kind.END, whole, whole)
        at_start = group == "end" and whole in ".!?…\n:"


def _slashed(parts: list[int], text: str, month_first: bool) -> Iterator[Token]:
    """A date with strokes: the day first, but in English the month; a fraction where no month is in it."""
    month, day = parts[:2] if month_first else parts[1::-1]
    if month > 12 >= day:
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        yield from map(number, parts)
        return
    yield from (number(day), closed(Sort.MONTH, month - 1, text))
    yield from map(number, parts[2:])


def _cut(run: str, words: Lexicon) -> Iterator[Token]:
    """A run of a script without spaces, cut at the forms that are known; what lies between is a word."""
    start = 0
    for match in words.cut.finditer(run) if words.cut else ():
        if _MARK.match(run, match.end()) or _within_kana(run, match.start(), match.end()):
            continue  # a vowel sign belongs to the letter before it
        yield from _rest(run[start : match.start()], run[start - 1 : start])
        yield from of_known(words.unspaced[match[0]], match[0])
        start = match.end()
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
            yield from of_known(known, word, capital)
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
        yield from of_known(known, word)
        return
    yield Token(Kind.WORD, word, stem, capital=capital)
