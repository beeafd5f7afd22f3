"""Open WebUI's export: ``chat.history.messages`` is a tree, ``currentId`` its leaf."""

from __future__ import annotations

import re
from typing import Any

from luna.importing import content, tree
from luna.importing.draft import Draft, Form, Mend, Role, Turn

#: What the program writes into an answer for its own display.
_DETAILS = re.compile(r'<details type="([a-z_]+)".*?</details>\s*', re.DOTALL)


def is_one(row: dict[str, Any]) -> bool:
    """Whether the row is a conversation of this form, with or without its envelope."""
    return _history(_chat(row)) is not None


def draft(row: dict[str, Any]) -> Draft:
    """The branch that ends with ``currentId``. Raises Unusable."""
    chat = _chat(row)
    history = _history(chat) or {}
    nodes, others = tree.branch(
        history["messages"], history.get("currentId"), lambda node: node.get("parentId")
    )
    made = Draft(Form.OPEN_WEBUI, [], content.identifier(row.get("id"), chat.get("id")))
    if others:
        made.mended.add(Mend.KEPT_BRANCH)
    parameters = chat.get("params")
    own = parameters.get("system") if isinstance(parameters, dict) else None
    if isinstance(system := own or chat.get("system"), str) and system.strip():
        made.turns.append(Turn(Role.SYSTEM, system))
    for node in nodes:
        role = content.role(node.get("role"))
        if node.get("files"):
            made.mended.add(Mend.DROPPED_MEDIA)
        if role is Role.TOOL:
            made.mended.add(Mend.DROPPED_TOOLS)
        else:
            words = content.text(node.get("content"), made.mended)
            made.turns.append(Turn(role, _without_details(words, made.mended)))
    return made


def _chat(row: dict[str, Any]) -> dict[str, Any]:
    chat = row.get("chat")
    return chat if isinstance(chat, dict) else row


def _history(chat: dict[str, Any]) -> dict[str, Any] | None:
    history = chat.get("history")
    if isinstance(history, dict) and isinstance(history.get("messages"), dict):
        return history
    return None


def _without_details(words: str, mended: set[Mend]) -> str:
    for kind in _DETAILS.findall(words):
        mended.add(Mend.DROPPED_THINKING if kind == "reasoning" else Mend.DROPPED_TOOLS)
    return _DETAILS.sub("", words)
