"""Which of the known forms a row has, told by its keys; and rows that are messages, put together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from luna.importing import chatgpt, claude, lmstudio, messages, openwebui, pairs
from luna.importing.draft import (
    Draft,
    Form,
    Located,
    NotConversations,
    Reason,
    Unreadable,
    Unusable,
)

#: In the order in which they are tried: the most particular first.
_READERS: tuple[tuple[Callable[[dict[str, Any]], bool], Callable[[dict[str, Any]], Draft]], ...] = (
    (chatgpt.is_one, chatgpt.draft),
    (claude.is_one, claude.draft),
    (openwebui.is_one, openwebui.draft),
    (lmstudio.is_one, lmstudio.draft),
    (messages.is_one, messages.draft),
    (pairs.is_one, pairs.draft),
)
_PROBED = 50  # rows; when none of the first so many has a known form, the file is something else
_GROUPS = ("conversation_id", "conversation", "chat_id", "thread_id", "session_id", "dialog_id")
_MOST_MESSAGES = 2_000_000  # in a file of one message a row, which must be put together in memory
NO_FORM = "holds none of the forms of conversations that are known (docs/import.md lists them)"


@dataclass(frozen=True)
class Row:
    """A row of any file, and where it stands; a row that could not be read is ``Unusable``."""

    where: str
    value: Any


def draft(value: Any) -> Draft:
    """The row's conversation. Raises Unusable."""
    if isinstance(value, Unusable):
        raise value
    if isinstance(value, list) and value and messages.is_message(value[0]):
        value = {"messages": value}
    if isinstance(value, dict):
        for is_one, read in _READERS:
            if is_one(value):
                return read(value)
    raise Unusable(Reason.UNKNOWN_FORM, "has none of the forms that are known")


def drafts(rows: Iterator[Row]) -> Iterator[Located]:
    """The conversations of a file's rows, one after the other.

    Raises NotConversations when none of the first rows has a known form.
    """
    first = list(itertools.islice(rows, _PROBED))
    if not first:
        raise NotConversations("holds nothing")
    if messages.is_message(first[0].value) and not is_known(first[0].value):
        yield from _joined(itertools.chain(first, rows))
        return
    if not any(is_known(row.value) for row in first):
        raise NotConversations(NO_FORM)
    for row in itertools.chain(first, rows):
        yield located(row)


def located(row: Row) -> Located:
    """The row's conversation, or why it has none."""
    try:
        return Located(row.where, row.value, draft(row.value))
    except Unusable as error:
        shown = row.value.row if isinstance(row.value, Unusable) else row.value
        return Located(row.where, shown, error)


def is_known(value: Any) -> bool:
    """Whether a row has one of the forms."""
    if isinstance(value, list):
        return bool(value) and messages.is_message(value[0])
    return isinstance(value, dict) and any(is_one(value) for is_one, _ in _READERS)


def _joined(rows: Iterator[Row]) -> Iterator[Located]:
    """Rows of one message each, as conversations: by the column that names them, else all of them as one."""
    groups: dict[str, list[Any]] = {}
    begins: dict[str, str] = {}
    for count, row in enumerate(rows, start=1):
        if count > _MOST_MESSAGES:
            raise Unreadable(f"holds more than {_MOST_MESSAGES:,} messages, one a row: divide it")
        value = row.value
        if isinstance(value, Unusable):
            yield located(row)
            continue
        if not messages.is_message(value):
            yield Located(row.where, value, Unusable(Reason.UNKNOWN_FORM, "is no message"))
            continue
        if value.get("parent_id"):
            raise Unreadable("holds a tree of messages, one a row, which is not known")
        key = next((str(value[name]) for name in _GROUPS if value.get(name) is not None), "")
        groups.setdefault(key, []).append(value)
        begins.setdefault(key, row.where)
    for key, listed in groups.items():
        result = located(Row(begins[key], {"messages": listed}))
        if isinstance(result.content, Draft):
            result.content.form = Form.ROWS
            result.content.id = key or None
        yield result
