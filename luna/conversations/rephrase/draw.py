"""Draws rephrasings of a question, and leaves out those that would teach or ask something else."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from luna.conversations.rephrase.compose import rephrase
from luna.conversations.rephrase.keep import keeps
from luna.conversations.rephrase.once import holds_code, own_rules
from luna.conversations.rephrase.rules import Rules, Side
from luna.conversations.schema import Conversation
from luna.conversations.similar import Similar

_SPARE = 1  # more are drawn than are wanted, since some are left out
_TRIES = 12  # for each that is wanted


@dataclass
class Report:
    """What was made by rule, and how many rephrasings were drawn and left out, and why."""

    worded_once: int = 0  # new conversations
    variants: int = 0  # trained on besides them
    replayed_variants: int = 0
    lost_words: int = 0  # left out: they lacked a word of the question
    near_another: int = (
        0  # left out: nearly another question, or for the exam one that is trained on
    )


#: A question, and the identity of the conversation that it belongs to; None: it may be almost no other text.
Asked = tuple[str, str | None]


def draw(
    groups: Iterable[Sequence[Conversation]],
    side: Side,
    count: int,
    seed: str,
    known: Iterable[Asked],
    report: Report,
    drafts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, list[str]]:
    """By identity up to ``count`` rephrasings of each conversation's last question, the same for the same seed.

    Besides them, those of ``drafts`` (by identity).

    Each group has a language of its own. No rephrasing is almost a question of ``known`` that belongs to another
    conversation.
    """
    drawn: dict[str, list[str]] = {}
    for items in groups if count else ():
        rules = own_rules(items)
        for item in items:
            made = _one(item, rules, side, count + _SPARE, seed, report)
            drawn[item.identity] = [*drafts.get(item.identity, ()), *made]
    candidates = _Candidates(drawn)
    for text, owner in known if drawn else ():
        candidates.meet(text, owner)
    report.near_another += len(candidates.left_out)
    kept = {
        identity: [text for text in texts if (text, identity) not in candidates.left_out]
        for identity, texts in drawn.items()
    }
    return {
        identity: texts[: count + sum(text in drafts.get(identity, ()) for text in texts)]
        for identity, texts in kept.items()
    }


def _one(
    item: Conversation, rules: Rules | None, side: Side, count: int, seed: str, report: Report
) -> list[str]:
    question = item.question[-1][1]
    if holds_code(question):
        return []
    own = rules if rules and rules.fit(question) else None
    chance = random.Random(f"{seed}/{side}/{item.identity}")
    drawn: dict[str, None] = {}
    for _ in range(_TRIES * count):
        text = rephrase(question, own, side, chance)
        if not keeps(question, text, own):
            report.lost_words += 1
        elif text != question:
            drawn[text] = None
        if len(drawn) == count:
            break
    return list(drawn)


class _Candidates:
    """Rephrasings that known questions are held against: they are few, and the known ones many."""

    def __init__(self, drawn: dict[str, list[str]]) -> None:
        self.left_out: set[Asked] = set()
        self._rows = [(text, identity) for identity, texts in drawn.items() for text in texts]
        self._similar = Similar([text for text, _ in self._rows])

    def meet(self, known: str, owner: str | None) -> None:
        """Leave out what is almost the known question, as the leak check of the probes counts it."""
        for at in self._similar.like(known):
            text, identity = self._rows[at]
            if identity != owner:
                self.left_out.add((text, identity))
