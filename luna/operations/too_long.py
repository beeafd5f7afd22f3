"""Names what does not fit in the window that a model is trained with, before the training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from luna.conversations.lengths import Counter
from luna.conversations.schema import Conversation
from luna.params import Params

_MARKS = 8  # tokens around a message, at most


def too_long(root: Path, settings: Params, conversations: Iterable[Conversation]) -> list[str]:
    """A sentence for conversations that are learnt in several windows, and one for replies that fit in none."""
    window = settings.train.max_seq_length
    counter = Counter(root, window)
    own = settings.chat.system_prompt
    for item in conversations:
        messages = item.messages
        if own and messages[0][0] != "system":
            messages = (("system", own), *messages)
        # No token is shorter than a byte: most are not counted.
        if sum(len(content.encode()) + _MARKS for _, content in messages) > window:
            counter.add(messages)
    lengths = counter.lengths()
    about = "" if lengths.exact else "about "
    limit = f"train.max_seq_length ({window:,} tokens)"
    sentences = []
    if lengths.beyond > lengths.too_long:
        sentences.append(
            f"{about}{_count(lengths.beyond, 'conversation is', 'conversations are')} longer than {limit}: learnt part by part, "
            "each reply with as much before it as fits"
        )
    if lengths.too_long:
        remedy = f"set train.max_seq_length to {lengths.window_needed + _MARKS} or more in params.yaml to learn them too"
        if lengths.fit_none:
            remedy = f"shorten what is longer than the {lengths.readable:,} tokens that the base can read"
        sentences.append(
            f"{about}{_count(lengths.too_long, 'reply is', 'replies are')} too long for {limit} with the question: not learnt and not "
            f"asked for; {remedy}"
        )
    return sentences


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
