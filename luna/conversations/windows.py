"""Which part of a long conversation comes before a reply when it is learnt, and when it is asked.

A conversation longer than the model's window is learnt in several windows. Replies that follow one another
share a window as long as they fit. The one that does not fit begins the next window, with as many whole turns
before it as half a window holds, so that the work grows with the text and every reply but the first few has
much of what came before it. Training and exam choose by this one rule, so a reply is asked as it was taught.
"""

from __future__ import annotations

from collections.abc import Callable

from luna.conversations.template import Messages

#: Tokens of the messages before a reply, from the given user's message on, with the reply and what ends it.
Length = Callable[[int, int], int]


def starts(messages: Messages, limit: int, length: Length) -> dict[int, int | None]:
    """For the index of each reply, that of the user's message at which its window begins.

    ``length(start, reply)`` is the number of tokens of a window; ``limit`` the most that fit. None where a reply
    does not fit even with its question alone.
    """
    turns = [index for index, (role, _) in enumerate(messages) if role == "user"] or [0]
    replies = [index for index, (role, _) in enumerate(messages) if role == "assistant"]
    if not replies:
        return {}
    if length(turns[0], replies[-1]) <= limit:
        return dict.fromkeys(replies, turns[0])  # the whole of it fits, as of nearly all
    windows: dict[int, int | None] = {}
    start = turns[0]
    for reply in replies:
        if length(start, reply) > limit:
            start = _start(turns, reply, limit, length)
        windows[reply] = start if length(start, reply) <= limit else None
    return windows


def _start(turns: list[int], reply: int, limit: int, length: Length) -> int:
    """The earliest turn from which no more than half the window is filled; else the last one."""
    before = [turn for turn in turns if turn < reply]
    low, high = 0, len(before) - 1
    while low < high:
        middle = (low + high) // 2
        if length(before[middle], reply) <= limit // 2:
            high = middle
        else:
            low = middle + 1
    return before[low]


def window(messages: Messages, start: int, reply: int) -> Messages:
    """The messages before ``reply`` from ``start`` on, and the conversation's own system message."""
    system = messages[:1] if messages[0][0] == "system" else messages[:0]
    return (*system, *messages[start:reply])
