"""Rows of one question and one answer: Alpaca, prompt and completion, columns of tables."""

from __future__ import annotations

from typing import Any

from luna.importing import content, messages
from luna.importing.draft import Draft, Form, Mend, Reason, Role, Turn, Unusable

#: The names of columns and keys that are known, in the order in which they are looked for.
QUESTIONS = ("prompt", "question", "instruction", "query", "user", "human", "input", "problem")
ANSWERS = (
    "completion",
    "response",
    "answer",
    "output",
    "assistant",
    "reply",
    "bot",
    "gpt",
    "chosen",
    "solution",
    "target",
)
_MORE = ("input", "context")  # what an instruction is about
_SYSTEM = ("system", "system_prompt")


def is_one(row: dict[str, Any]) -> bool:
    """Whether the row has a key for the question and one for the answer."""
    names = _names(row)
    return _first(names, ANSWERS) is not None and (
        _first(names, QUESTIONS) is not None or _is_messages(row.get(names.get("chosen", "")))
    )


def is_header(columns: list[str]) -> bool:
    """Whether the first line of a table names a question and an answer."""
    return is_one(dict.fromkeys(columns, ""))


def draft(row: dict[str, Any]) -> Draft:
    """The pair, with the turns before it (``history``) and what the question is about (``input``). Raises Unusable."""
    names = _names(row)
    question, answer = _first(names, QUESTIONS), _first(names, ANSWERS)
    assert answer is not None
    alpaca = question == "instruction" and answer == "output"
    made = Draft(
        Form.ALPACA if alpaca else Form.PAIRS, [], content.identifier(row.get(names.get("id", "")))
    )
    made.optional = {key: row[key] for key in messages.OPTIONAL if row.get(key) is not None}
    if names.keys() & {"rejected", "rejected_response"}:
        made.mended.add(Mend.DROPPED_REJECTED)
    if (system := _first(names, _SYSTEM)) is not None:
        made.turns.append(Turn(Role.SYSTEM, content.text(row[names[system]], made.mended)))
    made.turns += _history(row.get(names.get("history", "")))
    if question is not None:
        made.turns += _side(Role.USER, row[names[question]], made.mended)
        more = next((key for key in _MORE if key in names and key != question), None)
        if more is not None and made.turns and isinstance(row[names[more]], str):
            about = row[names[more]].strip()
            last = made.turns[-1]
            made.turns[-1] = Turn(
                last.role, f"{last.text.strip()}\n\n{about}" if about else last.text
            )
    replies = _side(Role.ASSISTANT, row[names[answer]], made.mended)
    if _is_messages(row[names[answer]]) and replies[0].role is not Role.ASSISTANT:
        made.turns = [turn for turn in made.turns if turn.role is Role.SYSTEM]  # it is the whole
    made.turns += replies
    return made


def _side(role: Role, value: Any, mended: set[Mend]) -> list[Turn]:
    """One side of the pair: a text, or a list of messages (TRL's conversational form)."""
    if _is_messages(value):
        return messages.turns(value, mended)
    return [Turn(role, content.text(value, mended))]


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and messages.is_message(value[0])


def _history(value: Any) -> list[Turn]:
    """Earlier pairs of question and answer, as Alpaca's descendants write them."""
    if not value:
        return []
    turns = []
    for pair in content.items(value, "a history"):
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not all(isinstance(item, str) for item in pair)
        ):
            raise Unusable(Reason.NOT_VALID, "has a history that is no list of pairs of texts")
        turns += [Turn(Role.USER, pair[0]), Turn(Role.ASSISTANT, pair[1])]
    return turns


def _names(row: dict[str, Any]) -> dict[str, str]:
    """The row's own keys by their plain form: small letters, no spaces around them."""
    return {key.strip().lower(): key for key in reversed(row) if isinstance(key, str)}


def _first(names: dict[str, str], wanted: tuple[str, ...]) -> str | None:
    return next((name for name in wanted if name in names), None)
