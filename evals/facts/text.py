"""One form of each letter, digit and number in any script, and accepted answers looked for."""

from __future__ import annotations

import functools
import unicodedata

import regex

#: Scripts that are written without a space between words.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー々〆\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_DIGIT = regex.compile(r"[^\P{Nd}0-9]")
_NO_DIGIT = regex.compile(r"\D")
#: Vowel signs and stretches that Arabic and Hebrew may leave out, and characters that are only hints for the layout.
_OPTIONAL = regex.compile(
    r"[\u0610-\u061a\u0640\u064b-\u065f\u0670\u0591-\u05bd\u05bf-\u05c7]|\p{Cf}"
)
_GROUPED = regex.compile(
    r"(?<![\p{L}\p{M}\d.,:/-])(?P<whole>[1-9]\d{0,2}(?:(?P<mark>[.,' ])\d{3})(?:(?P=mark)\d{3})*|[1-9]\d?(?:,\d{2})+,\d{3})(?:(?P<point>[.,])(?P<rest>\d+))?(?![\d:])(?![.,]\d)"
)
_COMMA = regex.compile(r"(?<![\d.,])(\d+),(\d+)(?![\d.,]*\d)")
_NO_CENTS = regex.compile(r"(?<![\d.,:])(\d+)\.00(?![\d.,]*\d)")
_WORD_END_SIGNS = r"(?<=[\p{L}\p{N}])[+#]+(?![\p{L}\p{N}])"
_SIGN = r"(?<![^\s(])-(?=\d)"
_PUNCTUATION = regex.compile(
    rf"({_WORD_END_SIGNS}|{_SIGN})|(?<!\d)[^\p{{L}}\p{{M}}\p{{N}}_\s]|[^\p{{L}}\p{{M}}\p{{N}}_\s](?!\d)"
)
_PARTICLES = regex.compile(
    r"(?:은|는|이|가|을|를|의|에|에서|에게|에는|에도|로|으로|와|과|도|만|부터|까지|마다|쯤|께서|한테|처럼|보다|하고|이나|나|씨|님|"
    r"입니다|이에요|예요|이예요|요|이요|이다|다|이고|고|이며|이라고|라고|이랍니다|랍니다|이죠|죠|이지만|지만|인데|이었습니다|였습니다|였어요|이었어요)+"
)
_CLITICS = regex.compile("[وف]?[بلك]?(?:ال)?")


def one_form(text: str) -> str:
    """Unicode's compatibility form with ASCII digits, straight quotes and dashes; case is kept."""
    text = unicodedata.normalize("NFKC", text)
    text = _DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)
    text = text.translate(_SAME).replace("٫", ".").replace("٬", ",")
    return _OPTIONAL.sub("", text)


_SAME = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "−": "-", "‐": "-", "‑": "-"})


def one_number(text: str) -> str:
    """Numbers without marks between thousands and with a point before the fraction: 1.250,50 and 1,250.50 are 1250.50."""

    def plain(match: regex.Match[str]) -> str:
        whole, mark, point, rest = (match[name] for name in ("whole", "mark", "point", "rest"))
        if point and point == mark:
            return match[0]
        return _NO_DIGIT.sub("", whole) + (f".{rest}" if rest else "")

    text = _GROUPED.sub(plain, text)
    return _NO_CENTS.sub(r"\1", _COMMA.sub(r"\1.\2", text))


@functools.lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """Case, punctuation and spacing do not matter; digits do, though neither their script nor the marks between them.

    Marks that belong to a letter stay with it, as Indic vowel signs do; ``C++`` and ``-5`` keep their signs.
    """
    text = unicodedata.normalize("NFKC", one_form(text).casefold())
    text = _PUNCTUATION.sub(lambda match: match[1] or " ", one_number(text))
    return " ".join(text.split())


def _is(letter: str, scripts: str) -> bool:
    return _one_of(scripts).match(letter) is not None


@functools.cache
def _one_of(scripts: str) -> regex.Pattern[str]:
    return regex.compile(rf"[{scripts}]")


def _parted(before: str, after: str) -> bool:
    """Whether a word may end between two neighbouring characters."""
    if not before or not after or before.isspace() or after.isspace():
        return True
    if unicodedata.category(after).startswith("M"):
        return False
    left, right = _is(before, UNSPACED), _is(after, UNSPACED)
    if not left and not right:
        return False
    if left and right:
        same_word = (r"\p{Katakana}ー", "〇零一二三四五六七八九十百千万億亿")
        return not any(_is(before, kind) and _is(after, kind) for kind in same_word)
    return True


def contains(answer: str, accepted: str) -> bool:
    """Whether the accepted answer stands in the answer as whole words; in scripts without spaces, as a whole part."""
    wanted, text = normalise(accepted), normalise(answer)
    start = text.find(wanted) if wanted else -1
    while start >= 0:
        end = start + len(wanted)
        if _begins(text, start) and _ends(text, end):
            return True
        start = text.find(wanted, start + 1)
    return False


def _begins(text: str, start: int) -> bool:
    if start == 0 or _parted(text[start - 1], text[start]):
        return True
    word = text.rfind(" ", 0, start) + 1
    return _is(text[start], r"\p{Arabic}") and _CLITICS.fullmatch(text, word, start) is not None


def _ends(text: str, end: int) -> bool:
    if end == len(text) or _parted(text[end - 1], text[end]):
        return True
    stop = text.find(" ", end)
    stop = len(text) if stop < 0 else stop
    # Korean writes its particles at the word.
    return _is(text[end], r"\p{Hangul}") and _PARTICLES.fullmatch(text, end, stop) is not None
