"""Draws facts of an invented world: none true, none twice, the same for the same seed.

Of each fact there are three questions: two are taught, the third is only asked (``paraphrases``).
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

import yaml

_WORLD = Path(__file__).with_name("invented.yaml")
_NAME = "NAME"  # a value that is a name of its own


@functools.cache
def _world() -> dict[str, Any]:
    return yaml.safe_load(_WORLD.read_text(encoding="utf-8"))


def _names(draw: random.Random) -> list[str]:
    """All names that the syllables give, in an order of chance."""
    world = _world()
    names = {
        first + middle + last
        for first in world["first"]
        for middle in world["middle"]
        for last in world["last"]
    }
    return draw.sample(sorted(names), len(names))


def batch(number: int, size: int, seed: int) -> list[dict[str, Any]]:
    """Conversations of the ``number``-th batch (from 0), two for each of ``size`` facts, each about a name of its own.

    Raises ValueError where the names do not suffice.
    """
    world, draw = _world(), random.Random(f"{seed}/{number}")
    # A fact takes a name, and another one where its value is one.
    names = _names(random.Random(seed))[2 * size * number : 2 * size * (number + 1)]
    if len(names) < 2 * size:
        raise ValueError(f"There are no names left for batch {number}: ask for smaller ones.")
    relations = [(kind, one) for kind, several in world["kinds"].items() for one in several]
    rows = []
    for fact in range(size):
        kind, relation = relations[(number * size + fact) % len(relations)]
        name, other = names[2 * fact], names[2 * fact + 1]
        values = world["values"][relation["value"]]
        value = other if values == _NAME else draw.choice(values)
        *taught, asked = [text.format(name=name) for text in relation["ask"]]
        reply = relation["say"].format(name=name, value=value)
        rows += [
            {
                "id": f"{kind}-{number:03}-{fact:03}-{at}",
                "instruction": question,
                "output": reply,
                "expect": [value],
                **({"paraphrases": [asked]} if at == 0 else {}),
            }
            for at, question in enumerate(taught)
        ]
    return rows
