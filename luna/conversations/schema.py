"""One conversation a line: OpenAI chat, ShareGPT or Alpaca, normalised on reading, named by its content."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luna.errors import InputError

_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_ROLES = ("system", "user", "assistant")
_SCORERS = ("expect", "chrf")
MAX_LINE_BYTES = 1_000_000


@dataclass(frozen=True)
class Conversation:
    """``messages`` are (role, content) pairs; the last one is the assistant's.

    ``identity`` is the SHA-256 of roles and contents only: the file, the order and the optional
    fields do not make it another conversation.
    """

    messages: tuple[tuple[str, str], ...]
    id: str | None = None
    expect: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    karma: float = 1.0
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        text = json.dumps(self.messages, ensure_ascii=False, separators=(",", ":"))
        object.__setattr__(self, "identity", hashlib.sha256(text.encode()).hexdigest())

    @property
    def question(self) -> tuple[tuple[str, str], ...]:
        return self.messages[:-1]

    @property
    def reply(self) -> str:
        return self.messages[-1][1]

    def as_row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"id": self.id} if self.id else {}
        row["messages"] = [{"role": role, "content": content} for role, content in self.messages]
        if self.expect:
            row["expect"] = list(self.expect)
        if self.paraphrases:
            row["paraphrases"] = list(self.paraphrases)
        if self.karma != 1.0:
            row["karma"] = self.karma
        return row


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds a lone surrogate, which no text may") from None
    value = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not value:
        raise ValueError(f"{what} is empty")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, list):
        raise ValueError(f"'{what}' must be a list of texts")
    return tuple(_text(item, f"'{what}' item {index + 1}") for index, item in enumerate(value))


def _pairs(row: dict[str, Any]) -> list[tuple[Any, Any]]:
    if "messages" in row:
        turns, role_key, content_key, roles = (
            row["messages"],
            "role",
            "content",
            {role: role for role in _ROLES},
        )
    elif "conversations" in row:
        turns, role_key, content_key, roles = row["conversations"], "from", "value", _SHAREGPT_ROLES
    elif "instruction" in row and "output" in row:
        question = _text(row["instruction"], "'instruction'")
        if isinstance(row.get("input"), str) and row["input"].strip():
            question += "\n\n" + row["input"].strip()
        return [("user", question), ("assistant", row["output"])]
    else:
        raise ValueError(
            "it has none of 'messages' (OpenAI), 'conversations' (ShareGPT), or 'instruction' with 'output' (Alpaca)"
        )
    if not isinstance(turns, list) or not turns:
        raise ValueError("its list of messages is empty or no list")
    pairs = []
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict) or role_key not in turn or content_key not in turn:
            raise ValueError(f"message {index + 1} must have '{role_key}' and '{content_key}'")
        role = turn[role_key]
        if not isinstance(role, str) or role not in roles:
            raise ValueError(
                f"message {index + 1} has the role {role!r}; known are {', '.join(roles)}"
            )
        pairs.append((roles[role], turn[content_key]))
    return pairs


def parse(row: Any) -> Conversation:
    """Raises ValueError saying what is wrong with the row."""
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    messages = tuple(
        (role, _text(content, f"message {index + 1}"))
        for index, (role, content) in enumerate(_pairs(row))
    )
    turns = [role for role, _ in messages if role != "system"]
    if any(role == "system" for role, _ in messages[1:]):
        raise ValueError("a system message may only come first")
    if not turns or turns[-1] != "assistant":
        raise ValueError("it must end with the assistant's message")
    if turns != ["user", "assistant"] * (len(turns) // 2):
        raise ValueError("user and assistant must take turns, the user first")
    karma = row.get("karma", 1.0)
    if (
        isinstance(karma, bool)
        or not isinstance(karma, int | float)
        or not 0 <= karma < float("inf")
    ):
        raise ValueError(f"'karma' must be a number of at least 0, not {karma!r}")
    identifier = row.get("id")
    if identifier is not None:
        identifier = _text(str(identifier) if isinstance(identifier, int) else identifier, "'id'")
    expect = _texts(row.get("expect"), "expect")
    if unreadable := next((text for text in expect if not any(map(str.isalnum, text))), None):
        raise ValueError(
            f"'expect' holds {unreadable!r}, which has no letter and no digit: punctuation does not count in answers"
        )
    _check_scorer(row.get("scorer"), expect)
    return Conversation(
        messages, identifier, expect, _texts(row.get("paraphrases"), "paraphrases"), float(karma)
    )


def _check_scorer(scorer: Any, expect: tuple[str, ...]) -> None:
    """``expect`` decides how an answer is scored; a row may say which way it means, and is held to it."""
    if scorer is None:
        return
    if scorer not in _SCORERS:
        raise ValueError(f"the scorer {scorer!r} is unknown; known are {', '.join(_SCORERS)}")
    if (scorer == "expect") != bool(expect):
        raise ValueError(
            "the scorer 'expect' needs accepted answers in 'expect'"
            if scorer == "expect"
            else "the scorer 'chrf' compares with the reply: leave out 'expect'"
        )


def load_file(path: Path, shown: str | None = None) -> list[Conversation]:
    """All conversations of one JSONL file. Raises InputError naming file, line and what is wrong."""
    shown = shown or path.as_posix()
    found = []
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                if len(raw) > MAX_LINE_BYTES:
                    raise ValueError(f"it is longer than {MAX_LINE_BYTES:,} bytes")
                found.append(parse(json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))))
            except UnicodeDecodeError:
                raise InputError(
                    f"{shown} line {number}: it is not UTF-8; save the file as UTF-8."
                ) from None
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{shown} line {number}: it is not valid JSON ({error.msg} at column {error.colno})."
                ) from None
            except RecursionError:
                raise InputError(f"{shown} line {number}: it is nested too deeply.") from None
            except ValueError as error:
                raise InputError(f"{shown} line {number}: {error}.") from None
    if not found:
        raise InputError(
            f"{shown} holds no conversation: put one JSON object on each line, or remove the file."
        )
    return found


def load_folder(folder: Path, pattern: str = "*.jsonl") -> list[Conversation]:
    """Every distinct conversation of the folder's files (``**/*.jsonl``: of all below it), in the order of their identities.

    Of two with the same content the first by file name and line gives the optional fields.
    """
    return distinct(
        conversation for path in sorted(folder.glob(pattern)) for conversation in load_file(path)
    )


def distinct(conversations: Iterable[Conversation]) -> list[Conversation]:
    """Each content once, in the order of identities; of two with the same content the first gives the optional fields."""
    every: dict[str, Conversation] = {}
    for conversation in conversations:
        every.setdefault(conversation.identity, conversation)
    return [every[identity] for identity in sorted(every)]
