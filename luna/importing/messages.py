"""Rows that hold a list of messages: OpenAI's ``messages`` and ShareGPT's ``conversations``."""

from __future__ import annotations

import json
from typing import Any

from luna.importing import content
from luna.importing.draft import Draft, Form, Mend, Reason, Role, Turn, Unusable

#: Where the list may stand, and the keys of a message: who speaks, and what.
_LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue", "turns")
_WHO = ("role", "from", "sender", "author", "speaker")
_WHAT = ("content", "value", "text", "message")
_TOOL_KEYS = ("tool_calls", "function_call", "tools", "functions", "tool_call_id")
#: Fields of a row of Luna's own, which go with it.
OPTIONAL = ("expect", "paraphrases", "karma", "scorer")


def is_one(row: dict[str, Any]) -> bool:
    """Whether the row holds a list of messages."""
    return _listed(row) is not None


def is_message(row: Any) -> bool:
    """Whether the row is a single message and no conversation."""
    return isinstance(row, dict) and _key(row, _WHO) is not None and _key(row, _WHAT) is not None


def draft(row: dict[str, Any]) -> Draft:
    """The messages as turns; a ``system`` beside them goes before them. Raises Unusable."""
    name, listed = _listed(row) or ("", [])
    first = next((item for item in listed if isinstance(item, dict)), {})
    form = Form.SHAREGPT if name == "conversations" or "from" in first else Form.MESSAGES
    made = Draft(form, [], content.identifier(row.get("id")))
    made.optional = {key: row[key] for key in OPTIONAL if row.get(key) is not None}
    if isinstance(system := row.get("system", row.get("system_prompt")), str) and system.strip():
        made.turns.append(Turn(Role.SYSTEM, system))
    if any(row.get(key) for key in _TOOL_KEYS):
        made.mended.add(Mend.DROPPED_TOOLS)
    made.turns += turns(listed, made.mended)
    return made


def turns(listed: list[Any], mended: set[Mend]) -> list[Turn]:
    """Messages as turns; what the assistant said to its tools, and they to it, is left out. Raises Unusable."""
    made = []
    for message in listed:
        if not isinstance(message, dict):
            raise Unusable(Reason.NOT_VALID, "has a message that is no object")
        who, what = _key(message, _WHO), _key(message, _WHAT)
        if who is None:
            raise Unusable(Reason.UNKNOWN_ROLE, "has a message without a role")
        role = content.role(message[who])
        if role is Role.TOOL:
            mended.add(Mend.DROPPED_TOOLS)
            continue
        if any(message.get(key) for key in _TOOL_KEYS):
            mended.add(Mend.DROPPED_TOOLS)
        words = content.text(message[what] if what else None, mended)
        made.append(Turn(role, words, learnt=_is_learnt(role, message)))
    return made


def _is_learnt(role: Role, message: dict[str, Any]) -> bool:
    """``weight: 0`` (OpenAI) and ``train: false`` (Axolotl) mean that a reply is context."""
    weight = message.get("weight")
    return role is not Role.ASSISTANT or (
        message.get("train") is not False and (weight is None or weight != 0)
    )


def _listed(row: dict[str, Any]) -> tuple[str, list[Any]] | None:
    for name in _LISTS:
        value = row.get(name)
        if isinstance(value, str) and value.lstrip().startswith("["):  # a cell of a table
            try:
                value = json.loads(value)
            except ValueError:
                continue
        # A list of whole conversations may stand under the same names.
        if isinstance(value, list) and (
            not value or (isinstance(value[0], dict) and _key(value[0], _WHO) is not None)
        ):
            return name, value
    return None


def _key(message: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in message), None)
