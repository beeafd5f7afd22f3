"""What is trained on besides a conversation that was said once: the same reply to other words."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from luna.conversations.rephrase.draw import Asked, Report, draw
from luna.conversations.rephrase.once import worded_once
from luna.conversations.schema import Conversation

VARIANTS = 6  # of each conversation, besides itself
#: Examples that a training set grows to by variants: a larger one has variety of its own, and takes long.
MOST_EXAMPLES = 4_000

Replay = list[tuple[int, Conversation]]


def of_delta(
    delta: Sequence[Conversation],
    examples: int,
    known: Iterable[Asked],
    seed: str,
    report: Report,
    drafts: Mapping[str, Sequence[str]],
) -> list[Conversation]:
    """Variants of what is new. ``examples``: how many are trained on without them. ``drafts``: rewordings by identity, tried first."""
    once = worded_once(delta)
    report.worded_once = len(once)
    room = max(0, MOST_EXAMPLES - examples) // len(once) if once else 0
    drawn = draw([once], "training", min(VARIANTS, room), seed, known, report, drafts)
    made = [variant for item in once for variant in _variants(item, drawn)]
    report.variants = len(made)
    return made


def of_replay(
    replay: Replay,
    old: Mapping[int, Sequence[Conversation]],
    most: int,
    known: Iterable[Asked],
    seed: str,
    report: Report,
) -> Replay:
    """The replay with variants of what was said once, ``most`` examples in all; ``seed`` makes them others each time.

    Where there is no room for more, every second one is replayed in other words instead of its own.
    """
    once = {item.identity for items in old.values() for item in worded_once(items)}
    again = [(key, item) for key, item in replay if item.identity in once]
    if not again:
        return replay
    room = max(0, most - len(replay)) // len(again)
    if not room:
        again = random.Random(f"{seed}/replay").sample(again, len(again) // 2)
    groups = [
        [item for group, item in again if group == key] for key in sorted({key for key, _ in again})
    ]
    count = min(VARIANTS, max(1, room))
    drawn = draw(groups, "training", count, seed, known, report)
    made = [(key, variant) for key, item in again for variant in _variants(item, drawn)]
    report.replayed_variants = len(made)
    if not room:
        replaced = {(item.question[:-1], item.reply) for _, item in made}
        chosen = {item.identity for _, item in again}
        replay = [
            (key, item)
            for key, item in replay
            if item.identity not in chosen or (item.question[:-1], item.reply) not in replaced
        ]
    return replay + made


def _variants(item: Conversation, drawn: Mapping[str, Sequence[str]]) -> list[Conversation]:
    texts = drawn.get(item.identity, ())
    return [_variant(item, text, number) for number, text in enumerate(texts, start=1)]


def _variant(item: Conversation, text: str, number: int) -> Conversation:
    """The same lesson, asked otherwise; the replies before it are learnt by the conversation itself."""
    messages = (*item.question[:-1], ("user", text), ("assistant", item.reply))
    context = tuple(i for i, (role, _) in enumerate(messages[:-1]) if role == "assistant")
    identifier = f"{item.id}~{number}" if item.id else None
    return Conversation(messages, identifier, item.expect, context=context)
