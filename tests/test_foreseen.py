"""Whether a set can be judged is said before it is trained, and every size of set has a rule that it can meet."""

from __future__ import annotations

from collections import Counter

import pytest
from conftest import SOURCE

from luna import params, sealed_parameters
from luna.conversations import schema
from luna.operations.foreseen import too_few
from luna.operations.too_long import too_long
from luna.params import Params
from luna.promotion import size

SETTINGS = params.load(SOURCE)


def asked_once(count: int) -> list[schema.Conversation]:
    """Questions without an accepted answer or a paraphrase, as a chat log has them."""
    words = ("harbour", "lantern", "orchard", "chapel", "ferry", "bakery", "mill", "quarry")
    return [
        schema.parse(
            {
                "instruction": f"When does the {words[at % 8]} of {words[at // 8 % 8]} {at} open?",
                "output": f"At {at} past {1 + at % 12}, by the {words[at % 5]} gate.",
            }
        )
        for at in range(count)
    ]


def without(**data) -> Params:
    """As shipped, with other keys under data."""
    return params.with_settings(SETTINGS, {"data": data})


@pytest.mark.parametrize("count", [30, 155, 1_000])
def test_sets_of_all_sizes_can_be_judged_as_shipped(count):
    assert too_few(SETTINGS, asked_once(count), [], Counter()) == []


def test_what_the_data_cannot_show_is_said_with_what_to_add():
    bare = without(augment="none", hold_out=0.0)
    [said] = too_few(bare, asked_once(30), [], Counter())
    for words in ("0 questions for generalisation", "8 are needed", "paraphrases", "evals/probes"):
        assert words in said
    [said] = too_few(without(augment="none", hold_out=0.1), asked_once(30), [], Counter())
    assert "0 questions" in said, "three held out give no choice among four replies"
    assert too_few(without(augment="none", hold_out=0.1), asked_once(155), [], Counter()) == []
    few = too_few(SETTINGS, asked_once(3), [], Counter())
    assert "3 questions for recall" in few[0]
    # What the parent was asked is asked again.
    assert too_few(SETTINGS, asked_once(3), [], Counter(recall=20, generalisation=20)) == []


def test_where_the_setting_allows_too_few_questions_the_setting_is_named():
    denied = too_few(without(probes_per_kind=7), asked_once(30), [], Counter())
    assert len(denied) == 2
    assert all("set data.probes_per_kind to 8 or more (it is 7)" in one for one in denied)


def test_how_many_are_needed_follows_the_size_and_a_number_is_what_it_says():
    assert [size.needed("auto", count) for count in (0, 30, 155, 200, 20_000)] == [8, 8, 15, 20, 20]
    assert size.needed(20, 30) == 20 == sealed_parameters.BEFORE["promotion"]["min_probes"]
    assert sealed_parameters.BEFORE["evaluate"]["max_tokens"] == 64


@pytest.mark.parametrize(
    ("words", "remedy"),
    [(500, "set train.max_seq_length to"), (2_000, "the 1,000 tokens that the base can read")],
)
def test_no_window_is_advised_that_the_base_cannot_read(tmp_path, words, remedy):
    config = tmp_path / "models/base/config.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"max_position_embeddings": 1000}')
    settings = params.with_settings(SETTINGS, {"train": {"max_seq_length": 100}})
    long = schema.parse({"instruction": "Tell me all.", "output": "word " * words})
    assert remedy in " ".join(too_long(tmp_path, settings, [long]))
