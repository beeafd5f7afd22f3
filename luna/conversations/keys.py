"""The keys that a conversation may have, and the message for any other.

A key that is probably a misspelling, and one that other tools use to change what is learnt, are
errors. Any other key (a date, a source) is left out of the conversation, and the caller gets its name.
A key whose value is null is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: For each form, the keys that say what the messages are. A row has those of one form only.
FORMS: dict[str, frozenset[str]] = {
    "OpenAI chat": frozenset({"messages"}),
    "ShareGPT": frozenset({"conversations"}),
    "Alpaca": frozenset({"instruction", "input", "output"}),
}
OPTIONAL = frozenset({"id", "expect", "paraphrases", "karma", "scorer"})
_ROW = OPTIONAL.union(*FORMS.values())

_NO_TOOLS = "tool calls are not learnt: remove the conversation, or leave its tool calls out"
_ROW_REFUSED = {
    "weight": "'weight' belongs on an assistant's message (0: it is context and not learnt)",
    "system": "give the system message as the first of the messages",
    "history": "give the earlier turns as messages ('messages' or 'conversations')",
    "chosen": "pairs of a chosen and a rejected reply are not learnt: give the one to learn as a message",
    "rejected": "pairs of a chosen and a rejected reply are not learnt: give the one to learn as a message",
    "tools": _NO_TOOLS,
    "functions": _NO_TOOLS,
    "tool_calls": _NO_TOOLS,
    "function_call": _NO_TOOLS,
    "parallel_tool_calls": _NO_TOOLS,
}
_MESSAGE_REFUSED = {
    "train": "give 'weight': 0 for a reply that is context and not learnt",
    "expect": "'expect' belongs beside the messages, not inside one",
    "paraphrases": "'paraphrases' belongs beside the messages, not inside one",
    "tool_calls": _NO_TOOLS,
    "tool_call_id": _NO_TOOLS,
    "function_call": _NO_TOOLS,
}
#: Words that mean a key of ours and are not spelt like it.
_MEANT = {
    "accept": "expect",
    "accepted": "expect",
    "answers": "expect",
    "alternatives": "paraphrases",
    "rephrasings": "paraphrases",
}


def ignored_in_row(row: dict[str, Any]) -> tuple[str, ...]:
    """Names of the keys that are left out. Raises ValueError for one that must not be."""
    given = {
        form: sorted(key for key in keys if row.get(key) is not None)
        for form, keys in FORMS.items()
    }
    several = [f"{form} ('{keys[0]}')" for form, keys in given.items() if keys]
    if len(several) > 1:
        raise ValueError(f"it has two forms in one row, {' and '.join(several)}: keep one of them")
    return _ignored(row, _ROW, _ROW_REFUSED, "")


def ignored_in_message(number: int, turn: dict[str, Any], known: Iterable[str]) -> tuple[str, ...]:
    """As ``ignored_in_row``, for one message; ``number`` counts from 1."""
    return _ignored(turn, frozenset({*known, "weight"}), _MESSAGE_REFUSED, f"message {number}: ")


def _ignored(
    row: dict[str, Any], known: frozenset[str], refused: dict[str, str], where: str
) -> tuple[str, ...]:
    ignored = []
    for key, value in row.items():
        if key in known or value is None:
            continue
        if key in refused:
            raise ValueError(f"{where}the key {key!r} cannot be used: {refused[key]}")
        if meant := _meant(key, known):
            raise ValueError(f"{where}the key {key!r} is unknown; did you mean {meant!r}?")
        ignored.append(key)
    return tuple(ignored)


def _meant(key: str, known: frozenset[str]) -> str | None:
    """The known key that ``key`` is probably a misspelling of."""
    plain = key.strip().casefold().replace("-", "").replace("_", "").replace(" ", "")
    if (meant := _MEANT.get(plain)) in known:
        return meant
    # One slip in a short word, two in a longer one; a word of two or three letters must be the same.
    allowed = 0 if len(plain) < 4 else 1 if len(plain) < 7 else 2
    near = {name: _edits(plain, name) for name in sorted(known)}
    best = min(near, key=lambda name: near[name])
    if near[best] <= allowed:
        return best
    return next((name for name in sorted(known) if sorted(name) == sorted(plain)), None)  # wieght


def _edits(one: str, other: str) -> int:
    """Letters to insert, delete or change to make one word of the other (Levenshtein 1966)."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, wanted in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != wanted))
    return row[-1]
