"""ChatGPT's export: conversations.json, each conversation a tree of messages."""

from __future__ import annotations

import re
from typing import Any

from luna.importing import content, tree
from luna.importing.draft import Draft, Form, Mend, Role, Turn

_THINKING = {"thoughts", "reasoning_recap"}
_HIDDEN = {"user_editable_context", "model_editable_context", "system_error"}
_TEXT = {"text", "multimodal_text", None}
#: References to web pages: between characters for private use since 2025, in lenticular brackets before.
_CITATION = re.compile("\ue200[^\ue201]*\ue201|【[^】]*†[^】]*】")


def is_one(row: dict[str, Any]) -> bool:
    """Whether the row is a conversation of this form."""
    return isinstance(row.get("mapping"), dict)


def draft(row: dict[str, Any]) -> Draft:
    """The branch that ends with ``current_node``. Raises Unusable."""
    nodes, others = tree.branch(
        row["mapping"], row.get("current_node"), lambda node: node.get("parent")
    )
    made = Draft(Form.CHATGPT, [], content.identifier(row.get("conversation_id"), row.get("id")))
    for node in nodes:
        message = node.get("message")
        if isinstance(message, dict):
            made.turns += _turn(message, made.mended)
    if others and _forks(row["mapping"]):
        made.mended.add(Mend.KEPT_BRANCH)
    return made


def _forks(mapping: dict[str, Any]) -> bool:
    parents = [node.get("parent") for node in mapping.values()]
    return len({str(parent) for parent in parents}) < len(parents)


def _turn(message: dict[str, Any], mended: set[Mend]) -> list[Turn]:
    """The message as a turn; nothing for one that nobody saw as text."""
    author = message.get("author")
    role = content.role(author.get("role") if isinstance(author, dict) else None)
    body = message.get("content")
    body = body if isinstance(body, dict) else {"parts": [body]}
    kind = body.get("content_type")
    metadata = message.get("metadata")
    hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation")
    if role is Role.TOOL or message.get("recipient") not in (None, "all"):
        mended.add(Mend.DROPPED_TOOLS)
    elif kind in _THINKING:
        mended.add(Mend.DROPPED_THINKING)
    elif kind not in _TEXT and kind not in _HIDDEN:
        mended.add(Mend.DROPPED_TOOLS)
    elif words := content.text(body.get("parts"), mended, native=True).strip():
        if hidden or kind in _HIDDEN or message.get("weight") == 0:
            mended.add(Mend.DROPPED_HIDDEN)
            return []
        plain = _CITATION.sub("", words) if "\ue200" in words or "†" in words else words
        if plain != words:
            mended.add(Mend.CLEANED_TEXT)
        return [Turn(role, plain)]
    elif kind in _HIDDEN:
        mended.add(Mend.DROPPED_HIDDEN)
    elif role is not Role.SYSTEM:  # the root of every tree is an empty system message
        return [Turn(role, "")]
    return []
