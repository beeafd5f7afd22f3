"""General prompts, made by rule: the base's own answers to them keep a generation what its base was.

Training on what the parent itself would say is self-distillation; even a tenth of the training set holds most of
what would be forgotten otherwise.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import yaml

from luna.conversations import schema
from luna.conversations.schema import Conversation
from luna.conversations.similar import Similar


@functools.cache
def prompts(language: str) -> tuple[str, ...]:
    """All prompts in a language (en, de, ja), each once; in another one those in English."""
    text = (resources.files(__package__) / "general_prompts.yaml").read_text(encoding="utf-8")
    all_of = yaml.safe_load(text)
    made = [
        sentence.format(word)
        for group in all_of.get(language, all_of["en"])
        for sentence in group["say"]
        for word in group["of"]
    ]
    return tuple(dict.fromkeys(made))


def as_conversations(rows: Iterable[dict[str, Any]]) -> list[Conversation]:
    """The base's replies, rows of models/general_replies.jsonl, each once."""
    replies = [schema.parse({"instruction": row["ask"], "output": row["answer"]}) for row in rows]
    return list({item.identity: item for item in replies}.values())


def replay(
    replies: Sequence[Conversation],
    lessons: Sequence[Conversation],
    asked: Iterable[str],
    share: float,
    seed: int,
) -> list[Conversation]:
    """So many of the base's replies that they are ``share`` of the training set, or all where that is more.

    ``lessons``: the rest of that set. What a lesson or an exam's question (``asked``) says nearly as well is left out: the
    person's own answer to it is the one that counts.
    """
    questions = {text for item in lessons for role, text in item.messages if role == "user"}
    similar = Similar(sorted(questions | set(asked)))
    free = [item for item in replies if not similar.like(item.question[-1][1])]
    wanted = round(share / (1 - share) * len(lessons)) if share < 1 else len(free)
    ordered = sorted(free, key=lambda item: item.identity)
    return random.Random(f"{seed}/general").sample(ordered, min(wanted, len(free)))
