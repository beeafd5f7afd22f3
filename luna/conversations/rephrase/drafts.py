"""Rewordings that a model wrote: cleaned, and left out where they lost a number or a name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from luna.conversations.similar import grams, similarity

_NUMBER = re.compile(r"\w*\d\w*(?:[.,:/-]\d+)*")
_NAME = re.compile(r"(?<=[^\W_] )[^\W\d_a-zß-öø-ÿ][^\W_]*")
_WORD = re.compile(r"\w+")
_QUOTES = "\"'“”„«»「」"
_SAME = 0.8  # similarity above which the model has said the question again
_LONGEST = 2.5  # times as long as its question
_SHORTEST = 3  # letters
#: Languages that write every noun as others write a name.
_NOUNS_LIKE_NAMES = ("de", "lb")


def clean(text: str, question: str, language: str) -> str | None:
    """The first line of what the model wrote; None where it cannot be the question in other words."""
    line = next((line for line in text.splitlines() if line.strip()), "").strip().strip(_QUOTES)
    if sum(map(str.isalpha, line)) < _SHORTEST or len(line) > _LONGEST * len(question) + 10:
        return None
    if similarity(grams(line), grams(question)) > _SAME:
        return None
    # A number of its own would be an answer, or invented.
    if sorted(_NUMBER.findall(line)) != sorted(_NUMBER.findall(question)):
        return None
    words = {word.casefold() for word in _WORD.findall(line)}
    names = () if language in _NOUNS_LIKE_NAMES else _NAME.findall(question)
    return line if all(name.casefold() in words for name in names) else None


def look_alikes(questions: Sequence[str], count: int) -> dict[str, list[str]]:
    """For each question those of the others that share most with it, at most ``count``."""
    index: dict[str, list[str]] = defaultdict(list)
    for question in dict.fromkeys(questions):
        for gram in grams(question):
            index[gram].append(question)
    near = {}
    for question in dict.fromkeys(questions):
        shared = Counter(
            other for gram in grams(question) for other in index[gram] if other != question
        )
        near[question] = [other for other, _ in sorted(shared.most_common(), key=_rank)[:count]]
    return near


def _rank(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]
