"""The exam of conversations that were said once: the same question by rules that training never uses."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from luna.conversations.rephrase.draw import Asked, Report, draw
from luna.conversations.rephrase.once import worded_once
from luna.conversations.schema import Conversation

_MOST_EACH = 3  # questions for one conversation, where there are few conversations

#: Conversations by the generation that taught them; None: nobody did yet.
Taught = Mapping[int | None, Sequence[Conversation]]


def with_paraphrases(
    taught: Taught, known: Iterable[Asked], cap: int, seed: int, report: Report
) -> dict[int | None, list[Conversation]]:
    """The same conversations; those that were said once have paraphrases made by the rules of the exam.

    Of each generation at most twice as many have them as ``cap`` probes can ask for. None is almost a question of
    ``known``: all that is trained on.
    """
    whole = sum(len(items) for items in taught.values())
    each = max(1, min(_MOST_EACH, cap // max(1, whole)))
    groups = []
    for generation, items in taught.items():
        once = sorted(worded_once(items), key=lambda item: item.identity)
        chance = random.Random(f"{seed}/exam/{generation}")
        groups.append(chance.sample(once, min(len(once), 2 * cap)))
    made = draw(groups, "exam", each, str(seed), known, report)
    return {
        generation: [
            replace(item, paraphrases=tuple(made[item.identity])) if item.identity in made else item
            for item in items
        ]
        for generation, items in taught.items()
    }
