"""Telegram's export: result.json of one chat, or of an account with ``chats.list``; read as a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO

from luna.importing import chatlog
from luna.importing.chatlog import Message, Sides
from luna.importing.draft import Form, Located, Unreadable

_SIGNS = re.compile(
    r'"(?:date_unixtime|from_id|text_entities)"\s*:'
    r'|"type"\s*:\s*"(?:personal_chat|bot_chat|private_group|private_supergroup|saved_messages)"'
    r'|"about"\s*:\s*"Here is the data you requested'
)
_LISTS = ("messages", "chats.list.item.messages", "left_chats.list.item.messages")


def is_one(text: str) -> bool:
    """Whether the beginning of a JSON object is that of such an export."""
    return _SIGNS.search(text) is not None


def conversations(file: BinaryIO, sides: Sides) -> Iterator[Located]:
    """The conversations of every chat in which ``sides.me`` takes part. Raises Unreadable."""
    stream = _Messages(file)
    refused: Unreadable | None = None
    any_given = False
    while stream.next_chat():
        try:
            for item in chatlog.drafts(stream.chat(), Form.TELEGRAM, sides, "message"):
                any_given = True
                yield item
        except Unreadable as error:  # a channel, or a chat in which one only reads
            refused = refused or error
    if not any_given:
        raise refused or Unreadable("holds no chat with a message")


class _Messages:
    """The messages of one chat after the other, out of one stream of JSON events."""

    def __init__(self, file: BinaryIO) -> None:
        import ijson

        self._errors = (ijson.JSONError, ValueError, RecursionError)
        self._builder = ijson.ObjectBuilder
        self._events = ijson.parse(file, use_float=True)
        self._prefix = ""

    def next_chat(self) -> bool:
        """Go on to where the next chat's messages begin."""
        for prefix, event, _ in self._safe():
            if event == "start_array" and prefix in _LISTS:
                self._prefix = prefix
                return True
        return False

    def chat(self) -> Iterator[Message]:
        """The messages up to the end of the chat."""
        number = 0
        builder: Any = None
        item = f"{self._prefix}.item"
        for prefix, event, value in self._safe():
            if prefix == self._prefix and event == "end_array":
                return
            if prefix == item and event == "start_map":
                builder = self._builder()
            if builder is not None:
                builder.event(event, value)
            if prefix == item and event == "end_map" and builder is not None:
                number += 1
                yield _message(builder.value, number)
                builder = None

    def _safe(self) -> Iterator[tuple[str, str, Any]]:
        try:
            yield from self._events
        except self._errors as error:
            raise Unreadable(
                "is not valid JSON (cut off, perhaps): export or copy it again"
            ) from error


def _message(row: dict[str, Any], number: int) -> Message:
    """A service message, and one that is only a picture or a sticker, has no text."""
    sender = row.get("from")
    text = _text(row.get("text")) if row.get("type") == "message" else ""
    name = sender if isinstance(sender, str) and sender else "deleted account"
    return Message(_when(row), name, text, number)


def _text(value: Any) -> str:
    """A text with links or bold words is a list of strings and objects."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    return "".join(
        part
        if isinstance(part, str)
        else str(part.get("text") or "")
        if isinstance(part, dict)
        else ""
        for part in value
    )


def _when(row: dict[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(row["date"]).replace(tzinfo=None)
    except (KeyError, TypeError, ValueError):
        return None
