"""Claude's export: conversations.json, each conversation a list of ``chat_messages``."""

from __future__ import annotations

from typing import Any

from luna.importing import content, tree
from luna.importing.draft import Draft, Form, Mend, Role, Turn


def is_one(row: dict[str, Any]) -> bool:
    """Whether the row is a conversation of this form."""
    return isinstance(row.get("chat_messages"), list)


def draft(row: dict[str, Any]) -> Draft:
    """The messages in their order; where the export names the last one of the branch that was kept, that branch."""
    made = Draft(Form.CLAUDE, [], content.identifier(row.get("uuid")))
    messages = [message for message in row["chat_messages"] if isinstance(message, dict)]
    if row.get("current_leaf_message_uuid") is not None:
        nodes = {str(message.get("uuid")): message for message in messages}
        messages, others = tree.branch(  # type: ignore[assignment]
            nodes, row["current_leaf_message_uuid"], lambda node: node.get("parent_message_uuid")
        )
        if others:
            made.mended.add(Mend.KEPT_BRANCH)
    for message in messages:
        role = content.role(message.get("sender", message.get("role")))
        parts = message.get("content")
        # Exports of before 2025 have the text alone.
        words = content.text(parts or message.get("text"), made.mended, native=True)
        if any(message.get(key) for key in ("attachments", "files")):
            made.mended.add(Mend.DROPPED_MEDIA)
        if role is Role.TOOL:
            made.mended.add(Mend.DROPPED_TOOLS)
        else:
            made.turns.append(Turn(role, words))
    return made
