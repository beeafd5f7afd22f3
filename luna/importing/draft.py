"""What a reader of a format hands on: a conversation as it stands, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Form(Enum):
    """The forms of conversations that are known. The value is the name in the summary."""

    CHATGPT = "ChatGPT export"
    CLAUDE = "Claude export"
    OPEN_WEBUI = "Open WebUI"
    LM_STUDIO = "LM Studio"
    MESSAGES = "OpenAI messages"
    SHAREGPT = "ShareGPT"
    ALPACA = "Alpaca"
    PAIRS = "prompt and completion"
    ROWS = "one message a row"
    TEXT = "plain text"
    WHATSAPP = "WhatsApp"
    TELEGRAM = "Telegram"


class Role(Enum):
    """Who speaks. ``TOOL`` is a program that the assistant called."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Mend(Enum):
    """The rules by which a conversation is mended. The value is the key in the summary; docs/import.md says each."""

    MERGED_TURNS = "merged_turns"
    DROPPED_TAIL = "dropped_tail"
    DROPPED_GREETING = "dropped_greeting"
    TOOK_TEXT_PARTS = "took_text_parts"
    DROPPED_MEDIA = "dropped_media"
    DROPPED_TOOLS = "dropped_tools"
    DROPPED_THINKING = "dropped_thinking"
    DROPPED_HIDDEN = "dropped_hidden"
    DROPPED_EMPTY = "dropped_empty"
    DROPPED_SYSTEM = "dropped_system"
    DROPPED_REJECTED = "dropped_rejected_reply"
    KEPT_BRANCH = "kept_one_branch"
    CLEANED_TEXT = "cleaned_text"


class Reason(Enum):
    """Why a row cannot be used. The value is the key in the summary and in the file of rejects."""

    NO_REPLY = "no_reply"
    NO_QUESTION = "no_question"
    NOT_JSON = "not_json"
    UNKNOWN_FORM = "unknown_form"
    UNKNOWN_ROLE = "unknown_role"
    BROKEN_TREE = "broken_tree"
    TOO_LONG = "too_long"
    NOT_VALID = "not_valid"


class Unusable(Exception):
    """A row that cannot be used; its own text says why, as the end of a sentence that begins with 'it'.

    ``row``: the beginning of a row that is no value, as it stands in the file; None elsewhere.
    """

    def __init__(self, reason: Reason, why: str, row: str | None = None) -> None:
        super().__init__(why)
        self.reason = reason
        self.row = row


class Unreadable(Exception):
    """A whole file that cannot be used; the text says why and what to do, and the file's name goes before it."""


class NotConversations(Unreadable):
    """A file that holds no conversation in a known form: in an export it may lie beside those that do."""


@dataclass(frozen=True)
class Turn:
    """One message: its text, whether it is learnt, and the rules that were needed to get at the text."""

    role: Role
    text: str
    learnt: bool = True


@dataclass
class Draft:
    """A conversation before it is mended. ``optional`` holds the fields that a row of Luna's own may have."""

    form: Form
    turns: list[Turn]
    id: str | None = None
    optional: dict[str, Any] = field(default_factory=dict)
    mended: set[Mend] = field(default_factory=set)


@dataclass(frozen=True)
class Located:
    """Something read, and where: ``where`` names the file inside the source and the place in it; ``row`` is what stands there."""

    where: str
    row: Any
    content: Draft | Unusable
