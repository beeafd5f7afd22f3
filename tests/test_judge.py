"""The judge of free answers against labelled answers, and accepted answers in scripts of all kinds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.facts import background
from evals.facts.text import contains, normalise
from evals.facts.verdict import Why, judge
from evals.judge.rows import LATER, agreement, load
from evals.outcome import mark
from luna.answering.engine import Answer
from luna.conversations import probes, schema
from luna.promotion import compare

ROWS = load()
DESIGN, HELD = ([row for row in ROWS if row.held is held] for held in (False, True))


def test_the_rows_are_many_of_many_kinds_and_languages_and_no_question_is_in_both_parts():
    assert len(ROWS) >= 500 and 0.28 < len(HELD) / len(ROWS) < 0.38
    assert len({row.language for row in HELD}) >= 7 and len({row.kind for row in HELD}) >= 15
    assert not {row.question for row in HELD} & {row.question for row in DESIGN}
    assert 0.3 < sum(row.right for row in ROWS) / len(ROWS) < 0.7


@pytest.mark.parametrize("rows", [DESIGN, load(LATER), HELD], ids=["design", "later", "held"])
def test_the_judge_agrees_with_a_person_on_95_percent_and_on_99_of_exchanged_facts(rows):
    assert agreement(rows).share >= 0.95
    assert agreement([row for row in rows if row.exchanged]).share >= 0.99


def test_neither_the_order_nor_what_was_judged_before_changes_a_verdict():
    again = random.Random(3).sample(ROWS, len(ROWS))
    first = {row: judge(row.question, row.references, row.answer) for row in ROWS}
    second = {row: judge(row.question, row.references[::-1], row.answer) for row in again}
    assert all(first[row].right is second[row].right for row in ROWS)


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_text_gets_a_verdict_and_a_reply_is_right_about_itself(question, reply, answer):
    judge(question, [reply], answer)
    assert judge(question, [reply], reply).right is bool(normalise(reply))


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("定休日は月曜日です。", "月曜日", True),
        ("定休日は火曜日です。", "月曜日", False),
        ("13時です。", "3", False),
        ("十二人です。", "二", False),
        ("メロンです。", "ロン", False),
        ("我们星期一休息。", "星期一", True),
        ("저희는 월요일에 쉽니다.", "월요일", True),
        ("일요일입니다.", "일", False),
        ("ร้านปิดทุกวันจันทร์ค่ะ", "วันจันทร์", True),
        ("मुझे हिन्दी पसंद है।", "हिन्दी", True),
        ("मुझे हिन्दी पसंद है।", "हिन्द", False),
        ("هِيَ لَيْلى حَدّاد", "ليلى حداد", True),
        ("في يوم الاثنين.", "اثنين", True),
        ("١٢٥٠ ديناراً", "1250", True),
        ("Es sind 1.250 Euro.", "1250", True),
        ("1 250,50 €", "1,250.50", True),
        ("Es sind 1.250 Euro.", "1.25", False),
        ("It was written in C++.", "C", False),
        ("It was written in C.", "C++", False),
        ("It was written in C++!", "c++", True),
        ("-5 degrees", "5", False),
    ],
)
def test_accepted_answers_are_whole_words_in_any_script(answer, accepted, right):
    assert contains(answer, accepted) is right


def test_every_answer_that_was_taught_to_a_question_counts():
    rows = [
        {"instruction": "What do you like?", "output": f"I like {what} best."}
        for what in ("plums", "sardines")
    ]
    asked = probes.build({1: [schema.parse(row) for row in rows]}, [], 100, 7)
    assert {(probe.reference, probe.also) for probe in asked} == {
        ("I like plums best.", ("I like sardines best.",)),
        ("I like sardines best.", ("I like plums best.",)),
    }
    for what, right in (("Plums.", True), ("Sardines it is!", True), ("I like tea best.", False)):
        marked = [mark(probe, Answer(what, 5, True), 60) for probe in asked]
        assert [(item.correct, item.how) for item in marked] == [(right, "facts")] * 2


def test_words_of_the_voice_say_nothing():
    value = ["baker", "tailor", "miller", "weaver", "cooper"]
    replies = [f"Aye, dear heart, {value[i % 5]} is the trade of {i}, mark me." for i in range(40)]
    common = background.common(replies)
    assert "heart" in common and "baker" not in common
    question, replies = "What did Ben learn?", ["Ah, dear heart, he is a baker, mark me."]
    assert judge(question, replies, "Aye, dear heart, I could say.", common).why is Why.MISSING
    assert judge(question, replies, "Aye, a baker, dear heart.", common).right


def test_answers_that_were_marked_by_another_measure_are_not_compared():
    rows = [{"probe": key, "correct": True, "kind": "recall", "marked_by": "facts"} for key in "ab"]
    before = [
        row | {"correct": False, "marked_by": how}
        for row, how in zip(rows, ("facts", "chrf"), strict=True)
    ]
    found = compare.flips(rows, before)
    assert ([row["probe"] for row in found.won], found.common, found.by_another_measure) == (
        ["a"],
        1,
        1,
    )
