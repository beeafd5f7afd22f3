"""Takes a question apart: its question words, the clause in it, and the thing that it asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from luna.conversations.rephrase.rules import Rules


@dataclass(frozen=True)
class Parts:
    """What of a question can stand in a frame; None where it cannot be told."""

    words: str | None = None  # where, how many cousins
    key: str | None = None  # the other words without the small ones
    clause: str | None = None  # where the key is
    thing: str | None = None  # the name of the dog


_ENGLISH_BE = {"is", "are", "was", "were"}
_ENGLISH_DO = {"do", "does", "did"}
_ENGLISH_HAVE = {"has", "have", "had"}
_ENGLISH_MODAL = {"can", "could", "will", "would", "should", "must", "may", "might"}
_ENGLISH_WH = {"what", "which", "who", "whom", "whose", "when", "where", "why", "how"}
_ENGLISH_PRONOUNS = {"i", "you", "he", "she", "it", "we", "they"}
_ENGLISH_DETERMINERS = {
    *("the", "my", "our", "your", "his", "her", "its", "their", "this", "that", "these", "those"),
    *("a", "an"),
}
_ENGLISH_AFTER_VERB = {
    *("on", "in", "at", "to", "for", "from", "by", "with", "of", "into", "over", "about", "up"),
    *("each", "every", "now", "today", "tonight", "tomorrow"),
}
_LONGEST = 100  # characters of what is taken apart
_SHORT_IS = re.compile(r"^(what|who|where|when|how)['’]s\b", re.IGNORECASE)
_LONGEST_WORDS = 5  # of 'how many days off'


def take_apart(question: str, rules: Rules) -> Parts:
    """The parts of one question of the rules' language; of what is no short question, none."""
    plain = question.strip().strip("¿").rstrip("?？ ").strip()
    if not plain or any(mark in plain for mark in "?？.!。\n;:") or len(plain) > _LONGEST:
        return Parts()  # no question, or more than one sentence
    if rules.language == "ja":
        return _japanese(plain)
    words = (_SHORT_IS.sub(r"\1 is", plain) if rules.language == "en" else plain).split()
    if rules.language == "en":
        return _english(words, rules)
    if rules.language == "de":
        return _german(words, rules)
    return _same_order(plain, words, rules)


def _key(words: list[str], rules: Rules) -> str | None:
    kept = [word for word in words if word.casefold().strip(",") not in rules.small]
    return " ".join(kept) or None


def _english(words: list[str], rules: Rules) -> Parts:
    low = [word.casefold().replace("’", "'") for word in words]
    if low[0] not in _ENGLISH_WH and not (len(low) > 1 and low[1] in _ENGLISH_WH):
        return Parts()
    helpers = _ENGLISH_BE | _ENGLISH_DO | _ENGLISH_HAVE | _ENGLISH_MODAL
    at = next((i for i, word in enumerate(low[: _LONGEST_WORDS + 1]) if word in helpers), None)
    first = " ".join([words[0].casefold(), *words[1:]])
    if at is None or at + 1 >= len(words):
        return Parts(words[0].casefold(), _key(words[1:], rules), first)
    asked = " ".join([words[0].casefold(), *words[1:at]])
    rest, helper = words[at + 1 :], low[at]
    key = _key(rest, rules)
    if not _is_subject(rest) or (helper in _ENGLISH_HAVE and low[0] in ("who", "what")):
        return Parts(asked, key, first)
    subject = " ".join(rest)
    if helper in _ENGLISH_BE:
        cut = _be_goes_to(rest)
        clause = " ".join([asked, *rest[:cut], words[at], *rest[cut:]])
        return Parts(asked, key, clause, subject if asked == "what" and cut == len(rest) else None)
    end = _subject_end(rest)
    if end is None:
        return Parts(asked, key)
    if helper in _ENGLISH_MODAL | _ENGLISH_HAVE:
        return Parts(asked, key, " ".join([asked, *rest[:end], words[at], *rest[end:]]))
    if helper == "do":
        return Parts(asked, key, " ".join([asked, *rest]))
    if helper == "does" and end < len(rest):
        return Parts(
            asked, key, " ".join([asked, *rest[:end], _third_person(rest[end]), *rest[end + 1 :]])
        )
    return Parts(asked, key)


def _be_goes_to(rest: list[str]) -> int:
    """How many words 'is' stands after in a clause: the subject, as far as it can be told."""
    if rest[0].casefold() in _ENGLISH_PRONOUNS:
        return 1
    tail = len(rest) - (rest[-1] in _ENGLISH_AFTER_VERB)  # which bank my account is at
    return next(
        (i for i, word in enumerate(rest) if i and re.fullmatch(r"\w+(?:ed|ing)|due", word)), tail
    )


def _is_subject(rest: list[str]) -> bool:
    first = rest[0].casefold()
    return (
        first in _ENGLISH_PRONOUNS | _ENGLISH_DETERMINERS
        or rest[0][0].isupper()
        or first.endswith(("'s", "’s"))
    )


def _subject_end(rest: list[str]) -> int | None:
    """How many words the subject has, so that the verb follows."""
    if rest[0].casefold() in _ENGLISH_PRONOUNS:
        return 1
    if rest[0][0].isupper():
        return next((i for i, word in enumerate(rest) if not word[0].isupper()), None)
    stops = _ENGLISH_AFTER_VERB | _ENGLISH_DETERMINERS
    stop = next((i for i, w in enumerate(rest) if i > 1 and w.casefold() in stops), len(rest))
    return stop - 1 if stop > 2 else None


def _third_person(verb: str) -> str:
    if verb in ("have", "go", "do"):
        return {"have": "has", "go": "goes", "do": "does"}[verb]
    if re.search(r"(?:s|x|z|ch|sh)$", verb):
        return f"{verb}es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", verb) + "s"


_GERMAN_WH = re.compile(r"wer|wen|wem|wessen|was|wann|wo\w*|warum|weshalb|wieso|wie|welche\w?")
_GERMAN_DEGREE = {
    *("oft", "lange", "lang", "schwer", "alt", "groß", "hoch", "weit", "teuer", "breit", "tief"),
    *("schnell", "gut", "spät", "häufig", "warm", "früh", "viel", "viele", "stark"),
}
_GERMAN_PREFIXES = {
    *("ab", "an", "auf", "aus", "ein", "her", "heraus", "hin", "los", "mit", "nach", "statt"),
    *("vor", "weg", "zu", "zurück", "zusammen", "um", "fest", "teil"),
}


def _german(words: list[str], rules: Rules) -> Parts:
    low = [word.casefold() for word in words]
    start = 0 if _GERMAN_WH.fullmatch(low[0]) else 1
    if start >= len(words) or not _GERMAN_WH.fullmatch(low[start]):
        return Parts()
    at = start + 1
    if low[start].startswith("welch"):
        noun = next((i for i in range(at, len(words)) if words[i][0].isupper()), None)
        at = len(words) if noun is None else noun + 1
    elif low[start] == "wie" and at < len(words) and low[at] in _GERMAN_DEGREE:
        counted = low[at] in ("viel", "viele") and at + 1 < len(words)
        at += 2 if counted and words[at + 1][0].isupper() else 1
    if at >= len(words) - 1 or "," in " ".join(words):
        return Parts()
    asked = " ".join([low[0], *words[1:at]])
    verb, rest = words[at], words[at + 1 :]
    if rest[-1] in _GERMAN_PREFIXES and len(rest) > 1:
        clause = " ".join([asked, *rest[:-1], rest[-1] + verb])
    else:
        clause = " ".join([asked, *rest, verb])
    thing = " ".join(rest) if asked == "was" and verb == "ist" or verb == "lautet" else None
    return Parts(asked, _key(words[at:], rules), clause, thing)


_THING = {
    "fr": re.compile(r"quels? (?:est|sont) (.+)|quelles? (?:est|sont) (.+)", re.IGNORECASE),
    "es": re.compile(r"cuál(?:es)? (?:es|son) (.+)", re.IGNORECASE),
}
#: A verb before its pronoun, which a clause has the other way round.
_INVERTED = re.compile(r"-(?:t-)?(?:je|tu|il|elle|on|nous|vous|ils|elles|ce)\b|^qu['’]", re.I)
_FIRST = {
    "fr": r"(?:à |de |d'|en |pour |avec |chez )?(?:qui|que|quoi|quand|où|comment|pourquoi|combien|quel\w*)\b",
    "es": r"(?:a |de |en |por |para |con )?(?:quién\w*|qué|cuándo|dónde|adónde|cómo|cuánt\w+|cuál\w*)\b",
}


def _same_order(plain: str, words: list[str], rules: Rules) -> Parts:
    """Languages in which the clause has the order of the question."""
    first = re.match(_FIRST[rules.language], plain, re.IGNORECASE)
    if not first or _INVERTED.search(plain):
        return Parts()
    asked = first[0].casefold()
    thing = _THING[rules.language].fullmatch(plain)
    return Parts(
        asked,
        _key(plain[first.end() :].split(), rules),
        plain[0].casefold() + plain[1:],
        next(filter(None, thing.groups()), None) if thing else None,
    )


_JAPANESE_END = re.compile(r"(?:です|でした)$")


def _japanese(plain: str) -> Parts:
    if not plain.endswith("か"):
        return Parts()
    clause = plain.removesuffix("か")
    topic, particle, rest = plain.partition("は")
    if not particle or not rest:
        return Parts(clause=clause)
    asked = _JAPANESE_END.sub("", rest.removesuffix("か"))
    return Parts(asked or None, topic, clause, topic if rest == "何ですか" else None)
