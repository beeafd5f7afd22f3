"""What a generation keeps of its base: the general questions, how they are marked, and what hangs on them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from conftest import SOURCE, facts, shipped, write_jsonl

from evals import general as questions
from evals import kept
from evals.general import NOTHING, Asked, Texts
from luna.answering.engine import Answer
from luna.answering.general_text import Likelihood
from luna.conversations import general, schema
from luna.conversations import questions as written
from luna.conversations.questions import Question
from luna.conversations.similar import Similar
from luna.errors import InputError
from luna.params import Clause
from luna.promotion import advice, balance, rule, size
from luna.promotion.advice import Change, Denied
from luna.promotion.compare import of_ability
from luna.promotion.general import lines
from luna.promotion.rule import Fault

SHIPPED = SOURCE / "evals/ability"
GATED = shipped("promotion", ability=Clause(minimum=0.9, no_regression=True))
OTHERS = {
    name: {"value": value, "low": value, "high": value, "n": 50}
    for name, value in (("recall", 1.0), ("generalisation", 1.0), ("tone_drift", 0.0))
}


def asked(count: int, right: int, start: int = 0) -> list[Asked]:
    return [
        Asked(
            Question("en", "capitals", f"What is place {at}?", (f"town {at}",)),
            "It is a town.",
            True,
            at - start < right,
        )
        for at in range(start, start + count)
    ]


def judged(base: list[Asked], now: list[Asked], p: float | None = None) -> rule.Verdict:
    score = kept.score(base, now, NOTHING, NOTHING)
    scores = OTHERS | {"ability": vars(score)}
    decision = rule.decide(scores, GATED, False, {"ability": p} if p is not None else None)
    verdict = decision.verdicts[-1]
    assert verdict.clause == "ability" and decision.promoted == verdict.passed, decision.notes
    return verdict


def test_there_are_questions_of_ten_kinds_in_three_languages_each_asked_once():
    sets = written.load(SHIPPED)
    least = {"en": (300, 30), "de": (60, 6), "ja": (60, 6)}
    assert sets.keys() == least.keys()
    for name, (all_of, of_each) in least.items():
        kinds = Counter(item.kind for item in sets[name])
        assert len(kinds) == 10 and min(kinds.values()) >= of_each, kinds
        assert len({item.ask for item in sets[name]}) == len(sets[name]) >= all_of
        assert (SHIPPED / f"prose-{name}.txt").is_file()
    assert len((SHIPPED / "prose-en.txt").read_text(encoding="utf-8").split()) > 2500


@pytest.mark.parametrize("language", ["en", "de", "ja"])
def test_what_is_trained_again_is_none_of_the_questions(language):
    similar = Similar([item.ask for item in written.load(SHIPPED)[language]])
    prompts = general.prompts(language)
    assert len(prompts) >= 70 and not [text for text in prompts if similar.like(text)]


@pytest.mark.parametrize(
    "text",
    [
        "What is 9 + 1?",
        '{"ask": "What is 9 + 1?"}',
        '{"ask": "What is 9 + 1?", "expect": "10"}',
        '{"ask": "What is 9 + 1?", "expect": []}',
        '{"ask": "", "expect": ["10"]}',
        '{"ask": "What is 9 + 1?", "expect": [10]}',
        '{"ask": "What is 9 + 1?", "expect": ["10"], "answer": "10"}',
        '["What is 9 + 1?"]',
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path, text):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"ask": "Who?", "expect": ["me"]}\n\n' + text + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine.jsonl line 3"):
        written.load(tmp_path)


def test_an_answer_is_right_by_its_first_words_and_never_when_it_failed():
    question = Question("en", "own", "What is 9 + 1?", ("10", "ten"))
    for answer, right in (
        (Answer("It is TEN, of course", 9, False), True),
        (Answer("tenor", 1, True), False),
        (Answer("", 0, True), False),
        (Answer("10", 1, True, failed=True), False),
        (None, False),
    ):
        assert questions._marked(question, answer).right is right


def test_what_the_base_answers_rightly_counts_and_a_base_that_answers_nothing_decides_nothing():
    base = asked(60, 40)
    assert [item.question for item in kept.askable(base)] == [
        item.question for item in base if item.right
    ]
    enough = judged(base, asked(40, 36))
    assert (enough.passed, enough.value, enough.counted) == (True, 0.9, True)
    lost = judged(base, asked(40, 35))
    assert (lost.passed, lost.fault) == (False, Fault.BOUND)
    worse = judged(base, asked(40, 37), p=0.01)
    assert (worse.passed, worse.fault) == (False, Fault.REGRESSION)

    few = asked(60, size.LEAST_GENERAL - 1)
    assert kept.askable(few) == []
    verdict = judged(few, [])
    assert (verdict.passed, verdict.counted, verdict.value) == (True, False, None)
    assert "cannot tell" in verdict.reason and "19" in verdict.reason


def test_without_the_clause_it_is_measured_and_decides_nothing():
    score = vars(kept.score(asked(60, 40), asked(40, 0), NOTHING, NOTHING))
    decision = rule.decide(OTHERS | {"ability": score}, shipped("promotion", ability=None), False)
    assert decision.promoted and "ability" not in {item.clause for item in decision.verdicts}


def test_it_is_compared_with_the_parent_on_the_same_questions():
    def rows(items):
        return [item.as_row() for item in items]

    before, now = asked(40, 40), asked(40, 30)
    assert of_ability(rows(now), rows(before))["ability"] < 0.01
    assert of_ability(rows(before), rows(before))["ability"] == 1.0
    assert of_ability(rows(now), rows(asked(10, 10, start=100))) == {}


def test_text_is_compared_only_where_it_is_the_same():
    before = Texts("en", Likelihood(-3.0, 100), Likelihood(-1.0, 50))
    after = Texts("en", Likelihood(-3.5, 100), Likelihood(-2.0, 51))
    details = kept.score(asked(40, 40), asked(40, 30), before, after).details
    assert details["prose"]["change"] == -0.5
    assert details["prose"]["perplexity"] == pytest.approx(1.6487, abs=1e-4)
    assert details["own_answers"]["change"] is None
    text = "\n".join(lines(details))
    assert "capitals 30 of 40" in text and "+0.500" in text and "1.65 times" in text
    assert lines(None) == [] and "Lost" in text
    assert Texts.loads(json.loads(json.dumps(before.as_json()))) == before


def test_after_a_denial_more_general_replay_is_advised_and_then_a_gentler_rate():
    verdict = judged(asked(60, 40), asked(40, 10))
    train = {"learning_rate": 0.002, "stopped": None}
    prep = {"total_training_examples": 100, "general_replay": 0, "general_available": 150}

    def advised(**changes):
        return advice.advise(Denied([verdict], train, prep | changes, []))

    first = advised()
    assert (first.clause, first.change) == ("ability", Change.KEEP_GENERAL)
    assert [(item.key, item.was, item.to) for item in first.settings] == [
        ("data.general_replay", 0.0, 0.15)
    ]
    assert "what the base could do" in first.sentence
    assert advice.loads(json.loads(json.dumps(first.as_json()))) == first
    for used_up in ({"general_replay": 50}, {"general_available": 0}):
        gentler = advised(**used_up)
        assert gentler.change is Change.TRAIN_GENTLER
        assert [item.key for item in gentler.settings] == ["train.learning_rate"]


def test_general_replay_is_a_share_of_the_training_set_and_gives_way_to_lessons():
    replies = general.as_conversations(
        {"ask": f"What is thing {at} in the world?", "answer": "A thing."} for at in range(50)
    )
    lessons = [schema.parse(row) for row in facts("harbour", range(40))]
    chosen = general.replay(replies, lessons, [], 0.2, 7)
    assert len(chosen) == 10 and chosen == general.replay(replies[::-1], lessons, [], 0.2, 7)
    assert chosen != general.replay(replies, lessons, [], 0.2, 8)
    assert general.replay(replies, lessons, [], 0.0, 7) == []
    assert len(general.replay(replies, lessons, [], 0.9, 7)) == 50
    own = schema.parse({"instruction": "What is thing 3 in the world?", "output": "A boat."})
    left = general.replay(replies, [own], ["what is thing 4 in the world"], 1.0, 7)
    assert len(left) == 48 and not {replies[3], replies[4]} & set(left)


def test_what_a_line_has_gained_and_what_it_has_cost_is_one_line():
    scores = {
        "recall": 0.98125,
        "ability": 0.93,
        "intervals": {"recall": {"n": 160}},
        "general": {"prose": {"perplexity": 1.1}},
    }
    metrics = {"evaluation": scores, "training": {"steps": 10}}
    assert balance.of(metrics).sentence == (
        "knows 157 of 160 taught things that it was asked; keeps 93% of what the base could do "
        "(perplexity of general prose: 1.10 times the base's)"
    )
    older = {"recall": 1.0, "intervals": {"recall": {"n": 5}}}
    assert "was not measured" in balance.of(metrics | {"evaluation": older}).sentence
    assert balance.of(metrics | {"training": {"steps": 0}}) is None
    assert balance.of({}) is balance.of(None) is None


def test_a_line_on_a_base_that_knows_nothing_says_so_and_is_judged_without(line):
    assert "cannot tell: the base answers 0 general questions" in line.git(
        "show", "Luna-GHEAD:models/EVAL.md"
    )
    assert {row["ability"] for row in line.json("log")} == {None}
    assert line.json("status")["balance"]["kept"] is None


def test_ones_own_questions_are_asked_of_the_base_once_and_then_of_every_generation(
    fresh, tmp_path
):
    """The tiny base knows nothing, so what it happens to say is taken for right."""
    repo = fresh.copy(tmp_path / "mine")
    rows = [{"ask": f"What is thing {at}?", "expect": ["zebra"]} for at in range(24)]
    write_jsonl(repo.path / "evals/ability/mine.jsonl", rows)
    (repo.path / "evals/ability/prose-mine.txt").write_text("The sea is wide.\n\nSo is the sky.\n")
    repo.luna("new")
    repo.dvc("repro", "general")
    said = [
        json.loads(line) for line in (repo.path / "models/general.jsonl").read_text().splitlines()
    ]
    assert len(said) == 24 and not any(row["right"] for row in said)
    words = {row["ask"]: sorted(row["answer"].split(), key=len)[-1:] for row in said}
    write_jsonl(
        repo.path / "evals/ability/mine.jsonl",
        [row | {"expect": words[row["ask"]] or ["zebra"]} for row in rows],
    )
    repo.edit_params(("ability: {minimum: 0.50, target: 0.90}", "ability: {minimum: 0.9}"))
    repo.luna("evolve", code=None)
    base, child = (
        json.loads(repo.git("show", f"{row['name']}:models/metrics.json"))["evaluation"]
        for row in repo.json("log")
    )
    assert base["intervals"]["ability"]["n"] >= 20 and base["ability"] > 0.9
    assert child["general"]["prose"]["tokens"] == base["general"]["prose"]["tokens"] > 5
    first, second = repo.json("log")
    assert (first["ability"], second["ability"]) == pytest.approx(
        (base["ability"], child["ability"]), abs=1e-3
    )
    assert f"Ability: {child['ability']:.4f}" in repo.git("tag", "-l", "-n99", second["name"])
    assert "What is kept of the base" in repo.git("show", f"{second['name']}:models/EVAL.md")
    assert repo.json("diff", "0", "1")["evals"]["scores"]["ability"]["a"]["n"] >= 20
    verdicts = {item["clause"]: item for item in repo.json("eval", "1")["verdicts"]}
    assert verdicts["ability"]["passed"] == (child["ability"] >= 0.9) == second["promoted"]


def test_questions_that_the_base_answers_by_chance_do_not_count():
    """What is right in one order of asking and wrong in another is not what the base can do."""
    first = asked(20, 15)
    wavering = first[4].question
    again = [replace(item, right=item.question != wavering) for item in first[14::-1]]
    marked = questions.sure(first, again)
    assert [item.question for item in marked] == [item.question for item in first]
    right = [item.question for item in first[:15] if item.question != wavering]
    assert [item.question for item in marked if item.right] == right
