"""Chooses what a generation trains on: its new data, and replay of the ancestors' data."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from luna.conversations.schema import Conversation


def delta(conversations: Iterable[Conversation], seen: set[str]) -> list[Conversation]:
    """The conversations that no ancestor has seen, by content hash."""
    return [conversation for conversation in conversations if conversation.identity not in seen]


class Identified(Protocol):
    """What can be chosen."""

    @property
    def identity(self) -> str:
        """By which it is put in order."""


Item = TypeVar("Item", bound=Identified)


def stratified(
    groups: Mapping[int, Sequence[Item]], count: int, seed: int
) -> list[tuple[int, Item]]:
    """Up to ``count`` items, the same number from each group as far as groups reach.

    What small groups cannot give is shared out among the larger ones (water filling). Returns
    (group, item) pairs in the order of groups and identities; the same seed gives the same choice.
    """
    quota = dict.fromkeys(sorted(groups), 0)
    left = min(count, sum(len(items) for items in groups.values()))
    while left:
        open_groups = [key for key in quota if quota[key] < len(groups[key])]
        share = max(1, left // len(open_groups))
        for key in open_groups:
            take = min(share, len(groups[key]) - quota[key], left)
            quota[key] += take
            left -= take
            if not left:
                break
    chosen = []
    for key, size in quota.items():
        items = sorted(groups[key], key=lambda item: item.identity)
        picked = random.Random(f"{seed}/{key}").sample(range(len(items)), size)
        chosen += [(key, items[index]) for index in sorted(picked)]
    return chosen


def training_order(items: list[Conversation], seed: int) -> list[Conversation]:
    """Shuffled by the seed, independent of the order in which the items were found."""
    ordered = sorted(items, key=lambda item: item.identity)
    random.Random(seed).shuffle(ordered)
    return ordered
