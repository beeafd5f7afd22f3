"""Plain text in which every message begins with who speaks: ``user:``, ``assistant:``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from luna.importing.draft import Draft, Form, Located, Role, Turn

_LABELS = {
    "system": Role.SYSTEM,
    **dict.fromkeys(
        ("user", "human", "you", "me", "q", "question", "prompt", "instruction"), Role.USER
    ),
    **dict.fromkeys(
        (
            "assistant",
            "ai",
            "bot",
            "gpt",
            "chatgpt",
            "claude",
            "model",
            "luna",
            "a",
            "answer",
            "response",
        ),
        Role.ASSISTANT,
    ),
}
_LABEL = re.compile(
    rf"(?:#{{1,4}}\s*)?(?:\*\*)?(?P<label>{'|'.join(_LABELS)})(?:\*\*)?\s?:(?:\*\*)?(?:\s+|$)(?P<text>.*)",
    re.IGNORECASE | re.DOTALL,
)
_BETWEEN = re.compile(r"\s*([-=*_])\1{2,}\s*$")
_EMPTY_LINES = 2  # before a user's or a system message, so many begin another conversation


def is_one(text: str) -> bool:
    """Whether the first message is labelled, and both sides speak."""
    labels = [_labelled(line) for line in text.splitlines() if line.strip()]
    return (
        bool(labels)
        and labels[0] is not None
        and {Role.USER, Role.ASSISTANT} <= {label[0] for label in labels if label}
    )


def conversations(lines: Iterable[str]) -> Iterator[Located]:
    """Divided by two empty lines before the user speaks, by system messages, and by lines of ``---`` before whoever speaks.

    Such a line that anything else follows belongs to what is said.
    """
    turns: list[tuple[Role, list[str]]] = []
    waiting: list[str] = []  # a line of '---' and the empty ones after it, until it is known
    begin, empty = 1, 0
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        label = _labelled(line)
        if turns and (_BETWEEN.match(line) or waiting and not line.strip()):
            waiting.append(line)
        elif label is not None:
            apart = label[0] is not Role.ASSISTANT and (
                empty >= _EMPTY_LINES or label[0] is Role.SYSTEM
            )
            if turns and (waiting or apart):
                yield _located(turns, begin)
                turns = []
            waiting = []
            begin = begin if turns else number
            turns.append((label[0], [label[1]]))
        elif turns:
            turns[-1][1].extend([*waiting, line])
            waiting = []
        empty = empty + 1 if not line.strip() else 0
    if turns:
        yield _located(turns, begin)


def _located(turns: list[tuple[Role, list[str]]], begin: int) -> Located:
    made = [Turn(role, "\n".join(texts)) for role, texts in turns]
    row = [{"role": turn.role.value, "content": turn.text} for turn in made]
    return Located(f"line {begin}", row, Draft(Form.TEXT, made))


def _labelled(line: str) -> tuple[Role, str] | None:
    match = _LABEL.match(line)
    return (_LABELS[match["label"].lower()], match["text"]) if match else None
