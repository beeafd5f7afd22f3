"""The text of a message, which other programs write as a string, as a list of parts, or as an object."""

from __future__ import annotations

import json
import re
from typing import Any

from luna.importing.draft import Mend, Reason, Role, Unusable

_ROLES = {
    Role.SYSTEM: ("system", "developer"),
    Role.USER: ("user", "human", "prompter", "instruction", "question"),
    Role.ASSISTANT: (
        [
            "assistant",
            "gpt",
            "chatgpt",
            "bot",
            "model",
            "ai",
            "bard",
            "bing",
            "claude",
            "llama",
            "response",
            "answer",
        ]
    ),
    Role.TOOL: (
        "tool",
        "function",
        "observation",
        "function_call",
        "function-call",
        "tool_call",
        "tool_response",
        "function_response",
        "ipython",
    ),
}
_BY_NAME = {name: role for role, names in _ROLES.items() for name in names}

#: Parts of a message that are text, by their type; those without a type are judged by their keys.
_TEXT_TYPES = {"text", "input_text", "output_text", "audio_transcription"}
_THINKING_TYPES = {"thinking", "redacted_thinking", "reasoning", "thoughts", "reasoning_recap"}
#: A reply that begins with what the model thought, as text.
THOUGHT = re.compile(
    r"\s*<(think|thinking|thought|reasoning)>.*?</\1>\s*", re.DOTALL | re.IGNORECASE
)
_TOOL_TYPES = re.compile(r"tool|function|code_interpreter|mcp", re.IGNORECASE)

#: A terminal's commands, and characters that no text may hold or show: control characters but tab and line ends,
#: lone surrogates, the byte order mark, and Unicode's noncharacters.
_UNCLEAN = re.compile(
    "\x1b\\[[0-9;?]*[ -/]*[@-~]"
    "|[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]"
)


def role(name: Any) -> Role:
    """The role that a name means in any of the forms. Raises Unusable for one that is not known."""
    known = _BY_NAME.get(name.strip().lower()) if isinstance(name, str) else None
    if known is None:
        raise Unusable(Reason.UNKNOWN_ROLE, f"has the role {_short(name)}, which is not known")
    return known


def text(value: Any, mended: set[Mend], native: bool = False) -> str:
    """The text in the content of a message; what is no text is left out, and the rule noted in ``mended``.

    ``native``: the format always writes lists of parts, so that taking their text is no mending.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, dict):
        value = value["parts"] if isinstance(value.get("parts"), list) else [value]
    if not isinstance(value, list):
        raise Unusable(Reason.NOT_VALID, f"has a message whose content is {_short(value)}")
    if not native:
        mended.add(Mend.TOOK_TEXT_PARTS)
    parts = (_part(item, mended) for item in value)
    return "\n\n".join(part for part in parts if part.strip())


def _part(item: Any, mended: set[Mend]) -> str:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        mended.add(Mend.DROPPED_MEDIA)
        return ""
    kind = item.get("type", item.get("content_type"))
    inner = item.get("text", item.get("content"))
    if isinstance(inner, str) and (kind is None or kind in _TEXT_TYPES):
        return inner
    if kind in _THINKING_TYPES:
        mended.add(Mend.DROPPED_THINKING)
    elif isinstance(kind, str) and _TOOL_TYPES.search(kind):
        mended.add(Mend.DROPPED_TOOLS)
    else:
        mended.add(Mend.DROPPED_MEDIA)
    return ""


def cleaned(value: str) -> str:
    """The text without what ``_UNCLEAN`` names."""
    if value.replace("\n", " ").replace("\t", " ").isprintable():  # most texts, and quickly seen
        return value
    return _UNCLEAN.sub("", value)


def items(value: Any, what: str) -> list[Any]:
    """The value as a list. Raises Unusable when it is none."""
    if not isinstance(value, list):
        raise Unusable(Reason.NOT_VALID, f"has {what} that is no list")
    return value


def identifier(*values: Any) -> str | None:
    """The first of the values that can be a conversation's id."""
    for value in values:
        if isinstance(value, str) and value.strip():
            return cleaned(value).strip()[:200] or None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
