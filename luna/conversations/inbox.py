"""data/inbox: corrected and praised conversations that wait for the next generation.

One file a conversation, written in one step and named by its content: many writers need no lock, and
writing the same conversation twice changes nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from luna import artifacts, files
from luna.conversations import folder, jsonl, schema
from luna.conversations.schema import Conversation
from luna.errors import InputError, StateError


def add(root: Path, row: dict[str, Any]) -> Path:
    """Check a conversation and put it into the inbox. Raises InputError saying what is wrong; then nothing is written."""
    try:
        conversation = schema.parse(row)
    except ValueError as error:
        raise InputError(f"The conversation was not kept: {error}.") from None
    if len(str(conversation.as_row()).encode()) > jsonl.MAX_LINE_BYTES:
        raise InputError(
            f"The conversation was not kept: it is longer than {jsonl.MAX_LINE_BYTES:,} bytes."
        )
    path = path_of(root, conversation.identity)
    files.write_jsonl(path, [conversation.as_row()])
    return path


def path_of(root: Path, identity: str) -> Path:
    """Where the conversation lies while it waits. Raises InputError for what is no identity."""
    if not re.fullmatch(r"[0-9a-f]{64}", identity):
        raise InputError(
            f"'{identity[:80]}' names no conversation: give the identity that 'luna status --waiting --json' shows."
        )
    return root / artifacts.INBOX / f"{identity}.jsonl"


def take_back(path: Path) -> None:
    """Remove a conversation that waits. Raises StateError where it has been taken in meanwhile."""
    try:
        path.unlink()
    except FileNotFoundError:
        raise StateError(
            "It no longer waits in data/inbox: a generation that is being built has taken it in."
        ) from None


def waiting(root: Path) -> list[Conversation]:
    """What waits in the inbox. Raises InputError naming file and line of what is not valid."""
    # One that vanishes has just been taken in by a generation that is starting.
    listed = folder.contents(root / artifacts.INBOX, vanishing=True)
    return schema.distinct(item for _, items in listed for item in items)


def take_in(root: Path) -> int:
    """Move what waits to data/conversations; returns how many. Killed halfway, a conversation is in both, never in none."""
    # The list is made once: what arrives meanwhile waits for the next time.
    paths = folder.files(root / artifacts.INBOX)
    conversations = [item for path in paths for item in schema.load_file(path)]
    if conversations:
        files.write_jsonl(
            root / artifacts.CONVERSATIONS / f"inbox-{_name(conversations)}.jsonl",
            (item.as_row() for item in conversations),
        )
    for path in paths:
        path.unlink()
    return len(conversations)


def _name(items: Iterable[Conversation]) -> str:
    return hashlib.sha256("".join(sorted(item.identity for item in items)).encode()).hexdigest()[
        :12
    ]
