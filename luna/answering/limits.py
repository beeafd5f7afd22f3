"""How long answers may become: as long as what was taught, and some more.

The length of the taught replies is known, so nobody need guess it: a limit below them would mark a model wrong that
says every word of what it was taught, and one far above them lets a broken model talk for hours.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

MORE = 1.25  # of the taught reply's length: the same may be said in more words
EXTRA = 16  # tokens
LEAST = 64  # tokens that every answer may take
UNASKED = 512  # tokens of an answer of which no taught reply is known


def limits(setting: int | Literal["auto"], taught: Sequence[int]) -> list[int]:
    """Tokens that each answer may take. ``taught``: those of the longest reply taught to each question.

    ``auto``: by its own reply, and not below what an ordinary one of the exam may take: a model that was taught long
    replies also answers in many words what was taught in few.
    """
    if setting != "auto":
        return [setting] * len(taught)
    if not taught:
        return []
    ordinary = statistics.median(taught)
    return [max(LEAST, math.ceil(MORE * max(length, ordinary)) + EXTRA) for length in taught]


def of_one(setting: int | Literal["auto"]) -> int:
    """Tokens that the answer to a question may take to which no reply is known."""
    return UNASKED if setting == "auto" else setting
