"""The invented world of bench life: facts enough for a long life, each once, the same for the same seed."""

from __future__ import annotations

import pytest

from bench import invented, life
from luna.conversations import schema


def test_thousands_of_facts_are_drawn_each_once_and_the_same_for_the_same_seed():
    batches = [invented.batch(number, 20, 7) for number in range(100)]
    assert batches[3] == invented.batch(3, 20, 7) != invented.batch(3, 20, 8)
    rows = [schema.parse(row) for batch in batches for row in batch]
    asked = [item.question[-1][1] for item in rows]
    assert len({item.id for item in rows}) == len(set(asked)) == len(rows) == 4000
    assert len({item.reply for item in rows}) == 2000
    for item in rows:
        assert item.expect[0] in item.reply and not set(item.paraphrases) & set(asked)
    with pytest.raises(ValueError, match="no names left"):
        invented.batch(400, 20, 7)


def test_every_fact_that_was_taught_is_asked_by_its_first_question():
    probes = life.probes(3, 20)
    assert len(probes) == 60 and [probe.generation for probe in probes[::20]] == [1, 2, 3]
    row = {
        "generation": 2,
        "promoted": False,
        "recall": 0.5,
        "generalisation": None,
        "tone": 0.01,
        "tone_against_first": 0.02,
        "ability": 0.9,
        "perplexity": 1.1,
        "by_batch": [1.0, 0.5],
        "seconds": 7,
        "bytes": 10**9,
    }
    assert life.cells(row) == (
        "| 2 | denied | 0.500 | - | 0.010 | 0.020 | 0.900 | 1.10 | 1.00 0.50 | 7 | 1.00 |"
    )
