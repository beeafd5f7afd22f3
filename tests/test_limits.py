"""How long answers may become: by the taught replies, so that long ones are judged whole and short ones stay quick."""

from __future__ import annotations

import pytest
from conftest import WORDS, shipped
from controls import SYSTEM, export, teach, untaught

from evals import suite
from luna.answering.limits import LEAST, limits, of_one
from luna.conversations import probes, schema


def test_a_limit_follows_the_probes_own_reply_and_the_exams_ordinary_one():
    assert limits(64, [10, 600]) == [64, 64], "a number is what it says"
    short = limits("auto", [10, 12, 9, 600])
    assert short[:3] == [LEAST] * 3 and short[3] >= 1.25 * 600
    long = limits("auto", [10, 500, 520])
    assert long[0] >= 1.25 * 500, "a model of long replies says much where little was taught"
    assert limits("auto", []) == [] and of_one("auto") > LEAST and of_one(30) == 30


def long_conversations() -> list[schema.Conversation]:
    """Replies of some 150 tokens, each another, and one of a word."""
    rows = [
        {
            "instruction": f"Tell me all of {word}.",
            "output": " ".join(f"{word} {other} {at}" for at in range(3) for other in WORDS),
        }
        for word in WORDS[:3]
    ]
    return [schema.parse(row) for row in [*rows, {"instruction": "Who?", "output": "Wren."}]]


def test_a_model_that_knows_long_replies_reaches_the_recall_that_it_has(tiny_base, tmp_path):
    items = long_conversations()
    model = export(
        teach(untaught(tiny_base, tmp_path / "random"), items, tmp_path / "taught", 150, batch=4)
    )
    asked = probes.build({1: items}, [], 20, 7)

    def recall(max_tokens) -> tuple[float, list]:
        marked = suite.examine(
            model, asked, SYSTEM, shipped("evaluate", max_tokens=max_tokens), 512
        )
        return suite.scores(marked, 1, 7)["recall"].value, marked

    by_hand, _ = recall(400)
    auto, marked = recall("auto")
    assert auto == by_hand == 1.0
    assert all(item.answer.limit > item.answer.tokens and item.answer.ended for item in marked)
    cut, marked = recall(64)
    assert cut == pytest.approx(0.25) and sum(not item.answer.ended for item in marked) == 3
