"""Other words for what was said once: made by rule, apart for training and exam, and nothing lost or leaked."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from conftest import SOURCE, facts

from bench.once import ONCE, private_probes
from evals.facts.text import contains
from luna.conversations import choose, probes, schema
from luna.conversations.rephrase import language, rules, slips, training
from luna.conversations.rephrase.keep import keeps
from luna.conversations.rephrase.once import worded_once
from luna.conversations.rephrase.parts import take_apart
from luna.conversations.rephrase.plan import Lesson, with_rules
from luna.conversations.similar import NEAR_DUPLICATE, grams, similarity

CAP, REPLAYED = 120, 600
LANGUAGES = ("en", "de", "ja")
#: Questions of languages that have no rules of their own.
OTHERS = {
    "sv": ["Var ligger nyckeln till båthuset?", "Vem brukar klippa gräset åt oss?"],
    "th": ["กุญแจสำรองอยู่ที่ไหน", "หมาของเราชื่ออะไร"],
    "zh": ["备用钥匙放在什么地方？", "我们的狗叫什么名字？"],
    "ar": ["أين نضع المفتاح الاحتياطي؟", "ما اسم كلب العائلة الصغير؟"],
}


def load(name: str) -> list[schema.Conversation]:
    return schema.load_file(ONCE / f"{name}.jsonl")


def said(*questions: str) -> list[schema.Conversation]:
    return [
        schema.parse({"id": f"q{i}", "instruction": question, "output": f"Reply {i}."})
        for i, question in enumerate(questions)
    ]


def lesson(items, replay=(), old=None, kept=(), written=(), number=1, most=REPLAYED):
    asked = {1: items} if old is None else {**old, number: items}
    start = Lesson(items, list(replay), asked)
    return with_rules(start, old or {}, kept, written, most, CAP, (7, number))


def texts(conversations) -> list[str]:
    return [item.question[-1][1] for item in conversations]


def test_no_rule_is_both_trained_on_and_examined():
    for one in rules.load().values():
        for form in ("before", "after", "clause", "thing", "short"):
            ours, exam = getattr(one.training, form), getattr(one.exam, form)
            assert ours and exam and not set(ours) & set(exam)
            for mine in ours:
                assert not any(
                    similarity(grams(mine), grams(other)) > NEAR_DUPLICATE for other in exam
                ), mine
        for word, others in one.same.items():
            assert not {word, *others["training"]} & set(others["exam"])
            assert others["training"] and others["exam"] and word not in others["training"]
    assert not set(slips.TRAINING) & set(slips.EXAM)


def test_a_word_is_not_exchanged_for_one_that_two_others_may_become():
    """'The price of the home' would be that of the house and of the flat."""
    for one in rules.load().values():
        heads: dict[str, set[str]] = {}
        for word, others in one.same.items():
            for other in (word, *others["training"], *others["exam"]):
                heads.setdefault(other, set()).add(word)
        for words in heads.values():
            for word in words:
                meant = {word, *one.same[word]["training"], *one.same[word]["exam"]}
                assert all(
                    other in meant or word in one.others(other, "training") for other in words
                ), words


@pytest.mark.parametrize("name", LANGUAGES)
def test_facts_said_once_are_trained_and_examined_in_other_words(name):
    items = load(name)
    made, report = lesson(items)
    assert language.of_all(texts(items)) == name
    assert made.delta[: len(items)] == items  # the originals are trained on as they are
    assert len(made.delta) == len(items) * (1 + training.VARIANTS) == len(set(texts(made.delta)))
    assert (report.worded_once, report.variants) == (len(items), len(items) * training.VARIANTS)
    replies = {item.identity: item.reply for item in items}
    assert {item.reply for item in made.delta} == set(replies.values())
    asked = probes.build(made.asked, [], CAP, 7)
    general = [probe for probe in asked if probe.kind == probes.GENERALISATION]
    assert len(general) == CAP
    assert all(replies[probe.conversation] == probe.reference for probe in general)
    probes.refuse_leaks(asked, made.examples)


@pytest.mark.parametrize("name", LANGUAGES)
def test_numbers_names_and_words_of_the_question_are_kept(name):
    own = rules.load()[name]
    by_reply = {item.reply: item.question[-1][1] for item in load(name)}
    made, _ = lesson(load(name))
    rephrased = made.delta + [
        replace(item, messages=(("user", text), ("assistant", item.reply)))
        for item in made.asked[1]
        for text in item.paraphrases
    ]
    for item in rephrased:
        question, text = by_reply[item.reply], item.question[-1][1]
        assert keeps(question, text, own if own.fit(question) else None)
        assert re.findall(r"\d+", question) == re.findall(r"\d+", text)


@pytest.mark.parametrize(
    ("question", "other", "kept"),
    [
        ("What does item 48 cost?", "Hi! What does item 84 cost?", False),
        ("What does item 48 cost?", "Tell me what item 48 costs.", True),
        ("Where does Lena live?", "Where does Lean live?", False),
        ("Where does Lena live?", "where does lena live", True),
        ("Where is the spare key?", "Where is the key?", False),
        ("When does the meeting begin?", "When does the conference start?", True),
        ("When does the meeting begin?", "When does the dinner start?", False),
        ("Where is the spare key?", "Where is the sapre key?", True),
    ],
)
def test_what_keeping_means(question, other, kept):
    assert keeps(question, other, rules.load()["en"]) is kept


def test_the_same_seed_gives_the_same_words_and_another_generation_others():
    items = load("en")[:30]
    first, again, later = (
        lesson(items),
        lesson(list(reversed(items))),
        lesson(items, old={}, number=2),
    )
    assert set(texts(first[0].delta)) == set(texts(again[0].delta))
    assert set(texts(first[0].delta)) != set(texts(later[0].delta))
    questions = {item.identity: item.paraphrases for item in first[0].asked[1]}
    # Those of the exam stay, so that generations are compared by the same ones.
    assert all(questions[item.identity] == item.paraphrases for item in later[0].asked[2])


def test_a_rephrasing_is_never_another_conversations_question():
    things = ["spare key", "spare keg", "boat", "ladder", "drill", "tent", "stove", "kettle"]
    clauses = rules.load()["en"].training.clause
    items = said(*(f"Where is the {thing}?" for thing in things))
    kept = said(*(frame.format(c=f"where the {t} is") for frame in clauses for t in things))
    made, report = lesson(items, kept=kept)
    for item in made.delta[len(items) :]:
        for other in items + kept:
            if other.reply != item.reply or other in kept:
                one, two = texts([item])[0], texts([other])[0]
                assert similarity(grams(one), grams(two)) <= NEAR_DUPLICATE
    assert report.near_another > 0
    probes.refuse_leaks(probes.build(made.asked, [], CAP, 7), made.examples)


def test_what_a_person_wrote_for_the_exam_is_not_trained_on_by_a_rule():
    items = said("Where is the spare key?", "Where is the boat moored?")
    plain, _ = lesson(items)
    leaky = texts(plain.delta)[len(items) :]
    written = [
        probes.Probe(probes.GENERALISATION, (("user", text),), ("x",), "x", "c", None)
        for text in leaky
    ]
    made, _ = lesson(items, written=written)
    probes.refuse_leaks(written, made.examples)


@pytest.mark.parametrize("name", OTHERS)
def test_a_language_without_rules_is_asked_too(name):
    items = said(*OTHERS[name])
    made, _ = lesson(items)
    assert len(made.delta) > len(items)
    asked = [p for p in probes.build(made.asked, [], CAP, 7) if p.kind == probes.GENERALISATION]
    assert {probe.conversation for probe in asked} == {item.identity for item in items}
    probes.refuse_leaks(asked, made.examples)


@pytest.mark.parametrize(
    ("name", "question", "clause"),
    [
        ("en", "Where do we keep the spare key?", "where we keep the spare key"),
        ("en", "When does the lease end?", "when the lease ends"),
        ("en", "When was the boiler serviced?", "when the boiler was serviced"),
        ("en", "What's the name of the dog", "what the name of the dog is"),
        ("en", "Tell me about the dog.", None),
        ("en", "Where was I born?", "where I was born"),
        ("en", "Which bank is my account at?", "which bank my account is at"),
        ("en", "Who delivers the bread?", "who delivers the bread"),
        ("en", "What can I use instead of eggs?", "what I can use instead of eggs"),
        ("de", "Wann fährt die Fähre ab?", "wann die Fähre abfährt"),
        ("de", "Wie viele Urlaubstage habe ich noch?", "wie viele Urlaubstage ich noch habe"),
        ("de", "Auf welche Schule geht Ella?", "auf welche Schule Ella geht"),
        ("fr", "Où est la clé de secours ?", "où est la clé de secours"),
        ("fr", "Quand part-il ?", None),
        ("es", "¿Dónde está la llave?", "dónde está la llave"),
        ("ja", "合鍵はどこにありますか？", "合鍵はどこにあります"),
    ],
)
def test_an_indirect_question_has_the_order_of_its_language(name, question, clause):
    assert take_apart(question, rules.load()[name]).clause == clause


@pytest.mark.parametrize(
    ("name", "questions"),
    [
        (
            "fr",
            ["Où est la clé de secours ?", "Quel est le nom du chien ?", "Qui tond la pelouse ?"],
        ),
        ("es", ["¿Dónde está la llave de la casa?", "¿Cuál es el nombre del perro de Ana?"]),
    ],
)
def test_french_and_spanish_have_rules(name, questions):
    items = said(*questions)
    made, _ = lesson(items)
    assert language.of_all(questions) == name
    assert len(made.delta) == len(items) * (1 + training.VARIANTS)
    probes.refuse_leaks(probes.build(made.asked, [], CAP, 7), made.examples)


def test_the_shipped_examples_are_trained_and_asked_as_they_are():
    first = schema.load_file(SOURCE / "data/conversations/01-merrow-point.jsonl")
    second = schema.load_file(SOURCE / "data/examples/02-the-winter-ferry.jsonl")
    replay = choose.stratified({1: first}, REPLAYED, 7)
    made, report = lesson(second, replay, {1: first}, number=2)
    assert (made.delta, made.replay, made.asked) == (second, replay, {1: first, 2: second})
    assert (report.worded_once, report.variants, report.replayed_variants) == (0, 0, 0)


def test_one_row_with_paraphrases_does_not_take_the_rules_from_the_others():
    items = said("Where is the spare key?") + [schema.parse(row) for row in facts("x", range(2))]
    assert worded_once(items) == items[:1]
    made, _ = lesson(items)
    assert len(made.delta) == len(items) + training.VARIANTS
    assert made.asked[1][1:] == items[1:]


def test_old_facts_are_replayed_in_new_words_within_the_bound():
    old, new = load("en")[:50], load("en")[50:60]
    replay = choose.stratified({1: old}, REPLAYED, 7)
    two, report = lesson(new, replay, {1: old}, number=2, most=160)
    three, _ = lesson(new, replay, {1: old}, number=3, most=160)
    assert len(two.replay) == len(three.replay) == 150 and report.replayed_variants == 100
    assert set(texts(item for _, item in replay)) <= set(texts(item for _, item in two.replay))
    assert set(texts(i for _, i in two.replay)) != set(texts(i for _, i in three.replay))
    full, _ = lesson(new, replay, {1: old}, number=2, most=50)
    assert len(full.replay) == 50
    kept = {item.identity for item in old}
    assert sum(item.identity in kept for _, item in full.replay) == 25
    assert {item.reply for _, item in full.replay} == {item.reply for item in old}


def test_a_large_set_gets_fewer_variants_or_none():
    items = said(*(f"What is the length of plank {i}?" for i in range(training.MOST_EXAMPLES)))
    none, _ = lesson(items)
    assert none.delta == items
    some, _ = lesson(items[: training.MOST_EXAMPLES // 3])
    assert len(items) // 3 < len(some.delta) <= training.MOST_EXAMPLES


def test_earlier_replies_of_a_conversation_are_context_in_its_variants():
    item = schema.parse(
        {
            "messages": [
                {"role": "user", "content": "I lost my key."},
                {"role": "assistant", "content": "Oh dear."},
                {"role": "user", "content": "Where is the spare key?"},
                {"role": "assistant", "content": "In the shed."},
            ]
        }
    )
    made, _ = lesson([item])
    for other in made.delta[1:]:
        assert (other.context, other.messages[:2], other.reply) == (
            (1,),
            item.messages[:2],
            "In the shed.",
        )


def test_code_is_no_question_to_play_with():
    items = said("What does this do?\n```\nprint(1)\n```")
    made, _ = lesson(items)
    assert made.delta == items and made.asked == {1: items}


def test_a_slip_leaves_numbers_and_names_alone():
    text = "Where does Grandma keep the 48 jars of plum_jam2 jam?"
    for slip in (slips.swapped, slips.doubled):
        for seed in range(50):
            other = slip(text, random.Random(seed))
            assert "Grandma" in other and " 48 " in other and "plum_jam2" in other


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_private_exam_asks_each_fact_twice_and_its_reply_passes(name):
    asked = private_probes(name)
    assert len(asked) == 3 * len(load(name))
    for probe in asked:
        assert any(contains(probe.reference, accepted) for accepted in probe.expect)
    # Nobody is taught what is asked: it is not near any question or variant.
    made, _ = lesson(load(name))
    by_hand = [probe for probe in asked if probe.kind == probes.GENERALISATION]
    probes.refuse_leaks(by_hand, made.examples)
