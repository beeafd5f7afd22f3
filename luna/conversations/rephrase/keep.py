"""Whether a rephrasing holds the numbers, names and other words of its question that carry facts."""

from __future__ import annotations

import re
import unicodedata

from luna.conversations.rephrase.rules import Rules

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u3005-\u3007\u30a0-\u30ff\u3400-\u9fff]+|[A-Za-z]+|\d+(?:[.,:]\d+)*")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_INFLECTED = 2  # letters that a verb may get at its end, as in 'ends' for 'end'


def keeps(question: str, other: str, rules: Rules | None) -> bool:
    """Numbers and names must be the same; a word may have a slip or be another that means the same, a verb may have an ending."""
    if _NUMBER.findall(question) != [n for n in _NUMBER.findall(other) if n in question]:
        return False
    if rules and rules.language == "ja":
        return all(part in other for part in _UNSPACED.findall(question))
    small = rules.small if rules else frozenset()
    given = [word.casefold() for word in _WORD.findall(other)]
    whole, slipped = set(given), {_squeezed(word) for word in given}
    for position, word in enumerate(_WORD.findall(question)):
        plain = word.casefold()
        if plain in whole or plain in small or (rules and _in_other_words(word, other, rules)):
            continue
        is_name = position > 0 and word[0].isupper()
        if is_name or any(map(str.isdigit, word)):
            return False
        if _squeezed(plain) not in slipped and not any(
            one.startswith(plain[:-1]) and len(one) <= len(plain) + _INFLECTED for one in given
        ):
            return False
    return True


def _in_other_words(word: str, other: str, rules: Rules) -> bool:
    """Whether the text has a word that means the same."""
    same = rules.others(word, "training") + rules.others(word, "exam")
    text = other.casefold()
    return any(re.search(rf"\b{re.escape(one.casefold())}\b", text) for one in same)


def _squeezed(word: str) -> tuple[str, str]:
    """The same for a word and its slip: its first letter, and which letters it has."""
    letters = unicodedata.normalize("NFC", word)
    return letters[:1], "".join(sorted(set(letters)))
