"""What is known of each language: its words for weekdays, numbers, denials, and its function words."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import regex
import yaml

TABLES = Path(__file__).with_name("languages.yaml")
_VOWEL_SIGNS = regex.compile(r"[\u0300-\u036f]")


class Sort(Enum):
    """What a known word does in a sentence."""

    NUMBER = "numbers"
    INSIDE = "inside"  # a number only as a part of another: German 'ein' in 'einhundert'
    JOIN = "joins"
    MINUS = "minus"
    AFFIRM = "affirm"
    DENY = "deny"
    BUT = "but"
    NEGATION = "negation"
    SHUT = "shut"
    OPEN = "open"
    OR = "or"
    MAYBE = "maybe"
    WHEN = "when"
    MANY = "many"
    ASKS = "asks"
    CLOCK = "clock"
    CLOCK_AFTER = "clock_after"
    HOUR = "hours"
    FUNCTION = "function"
    WEEKDAY = "weekdays"
    MONTH = "months"
    COLOUR = "colours"
    SIDE = "sides"
    HALF = "halves"
    SPAN = "spans"
    MONEY = "money"
    SEASON = "seasons"


#: Closed lists of which an answer names one: another one of the same list is another answer.
CLOSED = frozenset(
    {Sort.WEEKDAY, Sort.MONTH, Sort.COLOUR, Sort.SIDE, Sort.HALF, Sort.SPAN, Sort.MONEY}
    | {Sort.SEASON}
)
#: A form may be in several lists: the first of these is what it means. Questions (WHEN, MANY) are looked up apart.
_ORDER = (
    *sorted(CLOSED, key=lambda sort: (sort is not Sort.WEEKDAY, sort.value)),
    Sort.MINUS,
    Sort.CLOCK,
    Sort.CLOCK_AFTER,
    Sort.NUMBER,
    Sort.AFFIRM,
    Sort.DENY,
    Sort.BUT,
    Sort.NEGATION,
    Sort.SHUT,
    Sort.OPEN,
    Sort.OR,
    Sort.MAYBE,
    Sort.HOUR,
    Sort.FUNCTION,
)
_SCRIPTS = {
    "ja": regex.compile(r"[\p{Hiragana}\p{Katakana}]"),
    "zh": regex.compile(r"\p{Han}"),
    "ko": regex.compile(r"\p{Hangul}"),
    "th": regex.compile(r"\p{Thai}"),
    "hi": regex.compile(r"\p{Devanagari}"),
    "ar": regex.compile(r"\p{Arabic}"),
}
_CYRILLIC = ("ru", "uk")
_LATIN = ("en", "de", "fr", "es", "pt", "it", "nl", "sv", "pl", "tr", "id", "vi")
_SHARED = (
    (regex.compile(r"(?:\p{Cyrillic}|\p{M})+"), _CYRILLIC),
    (regex.compile(r"(?:\p{Latin}|\p{M})+"), _LATIN),
)
UNSPACED = ("ja", "zh", "th")


@dataclass(frozen=True)
class Known:
    """A known form: what it does, and which of its list it is (0 Monday ..., or the number's value)."""

    sort: Sort
    value: float = 0.0
    also: Sort | None = None  # Japanese 'de wa naku' denies and parts at once


@functools.lru_cache(maxsize=65536)
def bare(word: str) -> str:
    """Lower case without the accents of Latin, Greek and Cyrillic letters, and one Arabic alef."""
    word = word.casefold()
    if word.isascii():
        return word
    word = unicodedata.normalize("NFD", word)
    word = unicodedata.normalize("NFC", _VOWEL_SIGNS.sub("", word))
    return word.translate(_ALEF)


_ALEF = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ى": "ي", "ة": "ه", "ё": "е", "ß": "s"})


@functools.cache
def tables() -> dict[str, dict[str, str]]:
    """The lists of every language, as languages.yaml has them."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(TABLES.read_text(encoding="utf-8"), loader)


_LONGEST = 40  # letters of a known beginning
_VALUED = frozenset({Sort.NUMBER, Sort.INSIDE, Sort.CLOCK, Sort.CLOCK_AFTER})


def _entries(lists: Mapping[str, str], sort: Sort) -> Iterator[tuple[str, Known]]:
    text = lists.get(sort.value, "")
    if sort in _VALUED:
        for entry in text.split():
            form, _, value = entry.partition("=")
            yield form.replace("_", " "), Known(sort, -1.0 if value == "+" else float(value))
        return
    for index, entry in enumerate(text.split()):
        for form in entry.split("/"):
            if form != "-":
                yield form.replace("_", " "), Known(sort, float(index))


class Lexicon:
    """The lists of one or more languages, made ready for looking up."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        self.languages = languages
        self.exact: dict[str, Known] = {}
        self._near: dict[str, Known] = {}
        self._begins: dict[str, Known] = {}
        self.phrases: dict[str, list[tuple[tuple[str, ...], Known]]] = {}
        self.parts: dict[str, float] = {}
        asked: dict[Sort, list[str]] = {Sort.WHEN: [], Sort.MANY: [], Sort.ASKS: []}
        self.joins: set[str] = set()
        unspaced: dict[str, Known] = {}
        for language in languages:
            lists = tables()[language]
            for sort in _ORDER:
                for form, known in _entries(lists, sort):
                    if language in UNSPACED:
                        self._add_unspaced(unspaced, form, known)
                    else:
                        self._add(form, known)
            for sort in (Sort.NUMBER, Sort.INSIDE):
                self.parts |= {bare(form): known.value for form, known in _entries(lists, sort)}
            for ending in lists.get("ordinals", "").split():
                for form, known in _entries(lists, Sort.NUMBER):
                    self._add(form + ending, known)
            self.joins |= {bare(form) for form, _ in _entries(lists, Sort.JOIN)}
            for sort, forms in asked.items():
                forms += [_asking(form, language) for form, _ in _entries(lists, sort)]
        self._asks = {
            sort: regex.compile("|".join(forms) or "(?!)") for sort, forms in asked.items()
        }
        self.unspaced = unspaced
        longest = sorted(unspaced, key=len, reverse=True)
        self.cut = regex.compile("|".join(map(regex.escape, longest))) if unspaced else None
        inner = sorted(self.parts, key=len, reverse=True)
        self._compound = (
            regex.compile(rf"(?:({'|'.join(map(regex.escape, inner))}))+") if inner else None
        )

    @staticmethod
    def _add_unspaced(forms: dict[str, Known], form: str, known: Known) -> None:
        before = forms.setdefault(form, known)
        if before.sort is Sort.BUT and known.sort is Sort.NEGATION:
            forms[form] = Known(Sort.BUT, 0.0, Sort.NEGATION)

    def _add(self, form: str, known: Known) -> None:
        form = bare(form)
        if form.endswith("~"):
            self._near.setdefault(form[:-1], known)
        elif form.endswith("*"):
            self._begins.setdefault(form[:-1], known)
        elif " " in form:
            words = tuple(form.split())
            self.phrases.setdefault(words[0], []).append((words, known))
            self.phrases[words[0]].sort(key=lambda pair: -len(pair[0]))
        else:
            self.exact.setdefault(form, known)

    @functools.lru_cache(maxsize=65536)  # noqa: B019 - a lexicon lives as long as the program
    def look_up(self, word: str) -> Known | None:
        """What a single word is, by its bare form."""
        if entry := self.exact.get(word):
            return entry
        for cut in range(3):
            if len(word) > cut + 2 and (entry := self._near.get(word[: len(word) - cut])):
                return entry
        for end in range(min(len(word), _LONGEST), 0, -1):
            if entry := self._begins.get(word[:end]):
                negates = entry.sort is Sort.BUT or word in ("아니라", "아니고")
                return Known(Sort.BUT, 0.0, Sort.NEGATION) if negates else entry
        return None

    @functools.lru_cache(maxsize=65536)  # noqa: B019
    def number_parts(self, word: str) -> tuple[tuple[float, str], ...]:
        """The numbers that a word is made of, as 'zweiundvierzig' is, each with its letters; nothing where it is no number.

        -1 stands for the 'and' within.
        """
        if len(word) < 6 or self._compound is None or not (m := self._compound.fullmatch(word)):
            return ()
        values = tuple((self.parts[part], part) for part in m.captures(1))
        return values if len(values) > 1 and any(value > 1 for value, _ in values) else ()

    def asks(self, question: str, sort: Sort) -> bool:
        """Whether a question asks for a time (WHEN), a number (MANY), or for more than yes or no (ASKS)."""
        return self._asks[sort].search(question.casefold()) is not None


def _asking(form: str, language: str) -> str:
    """The pattern of a form, a whole word where words are parted by spaces."""
    plain = regex.escape(form.casefold().rstrip("*~"), literal_spaces=True)
    if language in UNSPACED or form.endswith(("*", "~")):
        return plain
    return rf"(?<![\p{{L}}\p{{M}}]){plain}(?![\p{{L}}\p{{M}}])"


@functools.cache
def lexicon(languages: tuple[str, ...]) -> Lexicon:
    """One lexicon for each set of languages."""
    return Lexicon(languages)


@functools.cache
def _common(languages: tuple[str, ...]) -> dict[str, frozenset[str]]:
    keys = (Sort.FUNCTION, Sort.WEEKDAY, Sort.NEGATION, Sort.WHEN, Sort.MANY, Sort.NUMBER)
    return {
        name: frozenset(
            bare(word.rstrip("~*"))
            for key in keys
            for form, _ in _entries(tables()[name], key)
            for word in form.split()
        )
        for name in languages
    }


@functools.lru_cache(maxsize=16384)
def detect(text: str) -> tuple[str, ...]:
    """The languages that a text is probably in: by its script, and by its function words where many share one."""
    names = [name for name, script in _SCRIPTS.items() if script.search(text)]
    if "ja" in names and "zh" in names:
        names.remove("zh")
    for script, languages in _SHARED:
        words = script.findall(text)
        if not words:
            continue
        common = _common(languages)
        # A word with a capital may be a name: Ben is a person, and Dutch for 'am'.
        weighed = [(bare(word), 1.0 if word.islower() else 0.5) for word in words]
        votes = {
            name: sum(weight for word, weight in weighed if word in common[name])
            for name in languages
        }
        most = max(votes.values())
        if most:
            names += [name for name in languages if votes[name] == most]
        elif not names:
            names.append(languages[0])
    return tuple(names) or ("en",)
