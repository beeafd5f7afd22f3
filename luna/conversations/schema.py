"""One conversation in any of three forms: checked, normalised, and named by its content's hash."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luna.conversations import jsonl, keys
from luna.errors import InputError
from luna.text import escaped

_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_OPENAI_ROLES = {role: role for role in ("system", "user", "assistant")}
_SCORERS = ("expect", "chrf", "facts")  # chrf: an earlier name of facts
MAX_KARMA = 1e12  # sums of it stay exact enough, and far from what a float cannot hold


@dataclass(frozen=True)
class Conversation:
    """``messages`` are (role, content) pairs; the last one is the assistant's.

    ``context`` holds the indexes of the assistant's messages with weight 0: read, and not learnt.
    ``identity`` is the SHA-256 of roles and contents, and of ``context`` where there is any, since another
    weight teaches something else: the file, the order and the optional fields do not make it another
    conversation. ``ignored`` names the keys of its row that were left out.
    """

    messages: tuple[tuple[str, str], ...]
    id: str | None = None
    expect: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    karma: float = 1.0
    context: tuple[int, ...] = ()
    ignored: tuple[str, ...] = field(default=(), compare=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        content = [self.messages, {"context": self.context}] if self.context else self.messages
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        object.__setattr__(self, "identity", hashlib.sha256(text.encode()).hexdigest())

    @property
    def learnt(self) -> tuple[int, ...]:
        """Indexes of the assistant's messages that are learnt; at least one."""
        return tuple(
            index
            for index, (role, _) in enumerate(self.messages)
            if role == "assistant" and index not in self.context
        )

    @property
    def question(self) -> tuple[tuple[str, str], ...]:
        """What comes before the last reply that is learnt."""
        return self.messages[: self.learnt[-1]]

    @property
    def reply(self) -> str:
        """The last reply that is learnt."""
        return self.messages[self.learnt[-1]][1]

    def as_row(self) -> dict[str, Any]:
        """The conversation as a line of JSONL."""
        row: dict[str, Any] = {"id": self.id} if self.id else {}
        row["messages"] = [
            {"role": role, "content": content} | ({"weight": 0} if index in self.context else {})
            for index, (role, content) in enumerate(self.messages)
        ]
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
        raise ValueError(f"{what} has a lone surrogate, which is not valid text") from None
    if "\0" in value:
        raise ValueError(f"{what} has a NUL character, which is not valid text")
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


@dataclass
class _Turns:
    """What a row says: (role, content as given) pairs, indexes of replies with weight 0, keys left out."""

    pairs: list[tuple[str, Any]]
    context: list[int] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def _turns(row: dict[str, Any]) -> _Turns:
    if row.get("messages") is not None:
        listed, role_key, content_key, roles = row["messages"], "role", "content", _OPENAI_ROLES
    elif row.get("conversations") is not None:
        listed, role_key, content_key, roles = (
            row["conversations"],
            "from",
            "value",
            _SHAREGPT_ROLES,
        )
    elif row.get("instruction") is not None and row.get("output") is not None:
        return _Turns([("user", _alpaca_question(row)), ("assistant", row["output"])])
    else:
        raise ValueError(
            "it has none of 'messages' (OpenAI), 'conversations' (ShareGPT), or 'instruction' with 'output' (Alpaca)"
        )
    if not isinstance(listed, list) or not listed:
        raise ValueError("its messages are empty or not a list")
    turns = _Turns([])
    for index, turn in enumerate(listed):
        if not isinstance(turn, dict) or role_key not in turn or content_key not in turn:
            raise ValueError(f"message {index + 1} must have '{role_key}' and '{content_key}'")
        turns.ignored += keys.ignored_in_message(index + 1, turn, (role_key, content_key))
        role = turn[role_key]
        if not isinstance(role, str) or role not in roles:
            raise ValueError(
                f"message {index + 1} has the role {role!r}; allowed are {', '.join(roles)}"
            )
        turns.pairs.append((roles[role], turn[content_key]))
        if _is_context(index + 1, roles[role], turn.get("weight")):
            turns.context.append(index)
    return turns


def _alpaca_question(row: dict[str, Any]) -> str:
    question = _text(row["instruction"], "'instruction'")
    more = row.get("input")
    if more is None or (isinstance(more, str) and not more.strip()):
        return question
    return f"{question}\n\n{_text(more, repr('input'))}"


def _is_context(number: int, role: str, weight: Any) -> bool:
    """Whether a message's ``weight`` says that it is not to be learnt (OpenAI's fine-tuning format)."""
    if weight is None:
        return False
    if role != "assistant":
        raise ValueError(f"message {number} has a weight: only an assistant's message may have one")
    if isinstance(weight, bool) or weight not in (0, 1):
        raise ValueError(
            f"message {number} has the weight {weight!r}: it must be 0 (context, not learnt) or 1"
        )
    return weight == 0


def _karma(value: Any) -> float:
    if value is None:
        return 1.0
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= MAX_KARMA:
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
        raise ValueError(f"'karma' must be a number of at least 0 and at most 1e12, not {shown}")
    return float(value)


def parse(row: Any) -> Conversation:
    """Raises ValueError saying what is wrong with the row."""
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    ignored = keys.ignored_in_row(row)
    turns = _turns(row)
    messages = tuple(
        (role, _text(content, f"message {index + 1}"))
        for index, (role, content) in enumerate(turns.pairs)
    )
    order = [role for role, _ in messages if role != "system"]
    if any(role == "system" for role, _ in messages[1:]):
        raise ValueError("a system message must be the first")
    if not order or order[-1] != "assistant":
        raise ValueError("it must end with the assistant's message")
    if order != ["user", "assistant"] * (len(order) // 2):
        raise ValueError("user and assistant must take turns, the user first")
    if len(turns.context) == order.count("assistant"):
        raise ValueError(
            "all of the assistant's messages have weight 0, so there is nothing to learn"
        )
    identifier = row.get("id")
    if identifier is not None:
        identifier = _text(str(identifier) if isinstance(identifier, int) else identifier, "'id'")
    expect = _texts(row.get("expect"), "expect")
    if unreadable := next((text for text in expect if not any(map(str.isalnum, text))), None):
        raise ValueError(
            f"'expect' holds {unreadable!r}, which has neither letter nor digit, and answers are compared without punctuation"
        )
    _check_scorer(row.get("scorer"), expect)
    return Conversation(
        messages,
        identifier,
        expect,
        _texts(row.get("paraphrases"), "paraphrases"),
        _karma(row.get("karma")),
        tuple(turns.context),
        tuple(dict.fromkeys([*ignored, *turns.ignored])),
    )


def _check_scorer(scorer: Any, expect: tuple[str, ...]) -> None:
    """``expect`` decides how an answer is scored; a row may name its scorer, and must then fit it."""
    if scorer is None:
        return
    if scorer not in _SCORERS:
        raise ValueError(f"the scorer {scorer!r} is unknown; allowed are {', '.join(_SCORERS)}")
    if (scorer == "expect") != bool(expect):
        raise ValueError(
            "the scorer 'expect' needs accepted answers in 'expect'"
            if scorer == "expect"
            else f"the scorer {scorer!r} compares with the reply: leave out 'expect'"
        )


def load_file(path: Path, shown: str | None = None) -> list[Conversation]:
    """All conversations of one JSONL file.

    Raises:
        InputError: naming file, line and what is wrong.
        FileNotFoundError: there is no such file.
    """
    shown = shown or path.as_posix()
    conversations = []
    for number, row in jsonl.rows(path, shown):
        with jsonl.naming(shown, number):
            conversations.append(parse(row))
            jsonl.require_finite(row)
    if not conversations:
        raise InputError(
            f"{escaped(shown)} holds no conversation: put one JSON object on each line, or remove the file."
        )
    return conversations


def distinct(conversations: Iterable[Conversation]) -> list[Conversation]:
    """Each content once, in the order of identities; of two with the same content the first gives the optional fields."""
    every: dict[str, Conversation] = {}
    for conversation in conversations:
        every.setdefault(conversation.identity, conversation)
    return [every[identity] for identity in sorted(every)]
