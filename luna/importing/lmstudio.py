"""LM Studio's chats: one file each, and of every message the version that was kept."""

from __future__ import annotations

from typing import Any

from luna.importing import content
from luna.importing.draft import Draft, Form, Mend, Reason, Role, Turn, Unusable


def is_one(row: dict[str, Any]) -> bool:
    """Whether the row is a conversation of this form."""
    messages = row.get("messages")
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(isinstance(item, dict) and "versions" in item for item in messages)
    )


def draft(row: dict[str, Any]) -> Draft:
    """Of each message the version that is selected. Raises Unusable."""
    made = Draft(Form.LM_STUDIO, [], content.identifier(row.get("id")))
    if isinstance(system := row.get("systemPrompt"), str) and system.strip():
        made.turns.append(Turn(Role.SYSTEM, system))
    for message in row["messages"]:
        versions = content.items(message["versions"], "a message with versions")
        at = message.get("currentlySelected", 0)
        if (
            not isinstance(at, int)
            or not 0 <= at < len(versions)
            or not isinstance(versions[at], dict)
        ):
            raise Unusable(Reason.NOT_VALID, "has a message whose selected version is not there")
        if len(versions) > 1:
            made.mended.add(Mend.KEPT_BRANCH)
        role = content.role(versions[at].get("role"))
        if role is Role.TOOL:
            made.mended.add(Mend.DROPPED_TOOLS)
        else:
            made.turns.append(Turn(role, _words(versions[at], made.mended)))
    return made


def _words(version: dict[str, Any], mended: set[Mend]) -> str:
    steps = version.get("steps")
    if not isinstance(steps, list):
        return content.text(version.get("content"), mended, native=True)
    return "\n\n".join(filter(None, (_step(step, mended) for step in steps)))


def _step(step: Any, mended: set[Mend]) -> str:
    if not isinstance(step, dict) or step.get("type") != "contentBlock":
        if isinstance(step, dict) and "tool" in str(step.get("type")).lower():
            mended.add(Mend.DROPPED_TOOLS)
        return ""
    style = step.get("style")
    if isinstance(style, dict) and style.get("type") == "thinking":
        mended.add(Mend.DROPPED_THINKING)
        return ""
    if step.get("roleOverride") == "tool":
        mended.add(Mend.DROPPED_TOOLS)
        return ""
    return content.text(step.get("content"), mended, native=True)
