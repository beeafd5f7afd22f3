"""What is advised after a denial: decided by values, kept with the generation, and shown where a person looks."""

from __future__ import annotations

import json

import pytest
from conftest import facts, shipped, write_jsonl

from luna.promotion import advice, reports, rule, untaught
from luna.promotion.advice import Change, Why
from luna.promotion.rule import Fault

RULE = shipped("promotion", min_probes=20)
GOOD = {
    "recall": (0.95, 0.91, 0.99),
    "generalisation": (0.9, 0.86, 0.95),
    "tone_drift": (0.01, 0.0, 0.03),
}
TRAIN = {
    "training_steps": 100,
    "learning_rate": 0.002,
    "batch_size": 4,
    "gradient_accumulation": 1,
    "settings": {"max_steps": -1, "epochs": 2.5, "stop_when_known": 0.98},
    "stopped": None,
}
PREP = {
    "new_conversations": 160,
    "held_out": 0,
    "replay_samples": 0,
    "replay_available": 0,
    "total_training_examples": 160,
    "probes": {"recall": 100, "generalisation": 100, "choice": 0},
}


def row(number: int, correct: bool = False, **other: object) -> dict:
    return {
        "probe": f"p{number}",
        "kind": "recall",
        "generation": 1,
        "messages": [["user", f"What is word {number}?"]],
        "expect": [],
        "reference": "Aye, the word is amber.",
        "also": [],
        "distractors": [],
        "text": "No idea.",
        "tokens": 4,
        "ended": True,
        "failed": False,
        "correct": correct,
        "marked_by": "facts",
    } | other


def advise(
    scores: dict[str, tuple[float | None, float, float]],
    n: int = 100,
    answers: list[dict] | None = None,
    recall: dict | None = None,
    tone: dict | None = None,
    base: dict[str, float] | None = None,
    regressions: dict[str, float] | None = None,
    rule_: object = RULE,
    train: dict | None = None,
    prep: dict | None = None,
    probes_per_kind: int | None = None,
) -> advice.Advice | None:
    numbers = {
        name: {"value": value, "low": low, "high": high, "n": n}
        for name, (value, low, high) in (GOOD | scores).items()
    }
    trained = TRAIN | (train or {})
    decision = rule.decide(numbers, rule_, False, regressions, trained["stopped"], base)
    rows = [row(i, i >= 40) for i in range(100)] if answers is None else answers
    prepared = PREP | (prep or {})
    denied = advice.Denied(
        decision.verdicts, trained, prepared, rows, recall or {}, tone or {}, probes_per_kind
    )
    return advice.advise(denied)


LOW = {"recall": (0.6, 0.5, 0.7)}
FORGOT = {"old": 0.3, "new": 0.97}
NARROW = {"generalisation": (0.5, 0.4, 0.6)}
HARSH = {"tone_drift": (0.2, 0.1, 0.3)}


@pytest.mark.parametrize(
    ("given", "clause", "why", "change", "settings"),
    [
        ({"scores": {}}, None, None, None, {}),
        ({"scores": LOW}, "recall", Why.MODEL, Change.TRAIN_LONGER, {"train.epochs": 5.0}),
        (
            {"scores": LOW, "train": {"settings": {"max_steps": 100, "epochs": 2.5}}},
            "recall",
            Why.MODEL,
            Change.TRAIN_LONGER,
            {"train.max_steps": 200},
        ),
        (
            {"scores": LOW, "train": {"settings": {"max_steps": -1, "epochs": "auto"}}},
            "recall",
            Why.MODEL,
            Change.TRAIN_LONGER,
            {"train.epochs": 5.0},
        ),
        (
            {"scores": LOW, "train": {"ended": "known"}},
            "recall",
            Why.MODEL,
            Change.TRAIN_LONGER,
            {"train.stop_when_known": 1.0},
        ),
        (
            {"scores": LOW | NARROW | HARSH},
            "recall",
            Why.MODEL,
            Change.TRAIN_LONGER,
            {"train.epochs": 5.0},
        ),
        ({"scores": NARROW}, "generalisation", Why.DATA, Change.ADD_WORDINGS, {}),
        (
            {"scores": HARSH},
            "tone_drift",
            Why.MODEL,
            Change.TRAIN_GENTLER,
            {"train.learning_rate": 0.001},
        ),
        (
            {"scores": HARSH, "tone": {"new_voice": 0.3}},
            "tone_drift",
            Why.DATA,
            Change.ACCEPT_VOICE,
            {"promotion.tone_drift.maximum": 0.2},
        ),
        (
            {
                "scores": LOW,
                "recall": FORGOT,
                "prep": {"replay_samples": 50, "replay_available": 300},
            },
            "recall",
            Why.MODEL,
            Change.REPLAY_MORE,
            {"data.replay_samples": 160},
        ),
        (
            {
                "scores": LOW,
                "recall": FORGOT,
                "prep": {"replay_samples": 50, "replay_available": 50},
            },
            "recall",
            Why.MODEL,
            Change.TRAIN_LONGER,
            {"train.epochs": 5.0},
        ),
        (
            {
                "scores": {},
                "regressions": {"recall": 0.01},
                "rule_": shipped("promotion", recall={"minimum": 0.9, "no_regression": True}),
                "prep": {"replay_samples": 50, "replay_available": 90},
            },
            "recall",
            Why.MODEL,
            Change.REPLAY_MORE,
            {"data.replay_samples": 90},
        ),
        (
            {"scores": {}, "train": {"stopped": {"failed": True, "why": "the loss diverged"}}},
            None,
            Why.MODEL,
            Change.TRAIN_GENTLER,
            {"train.learning_rate": 0.0005},
        ),
        (
            {"scores": {}, "base": {"recall": 0.95}},
            "recall",
            Why.DATA,
            Change.ADD_UNKNOWN,
            {},
        ),
        (
            {"scores": {}, "base": {"generalisation": 0.93}},
            "generalisation",
            Why.DATA,
            Change.ADD_UNKNOWN,
            {},
        ),
        (
            {
                "scores": {},
                "base": {"generalisation": 0.93},
                "prep": {"probes": {"recall": 100, "generalisation": 0, "choice": 20}},
            },
            "generalisation",
            Why.DATA,
            Change.ADD_WORDINGS,
            {},
        ),
    ],
)
def test_the_one_change_that_helps_most(given, clause, why, change, settings):
    item = advise(**given)
    if change is None:
        assert item is None
        return
    assert (item.clause, item.why, item.change) == (clause, why, change)
    assert {setting.key: setting.to for setting in item.settings} == settings
    assert advice.loads(json.loads(json.dumps(item.as_json()))) == item
    for setting in item.settings:
        assert f"{setting.key} to {setting.to:g}" in item.step
    assert item.step.endswith("then luna evolve") and f"the {why}" in item.reason


def test_what_was_said_once_is_trained_in_other_words_where_that_is_off():
    once = {"probes": {"recall": 100, "generalisation": 0, "choice": 100}, "made_by_rule": None}
    for given in ({"scores": NARROW}, {"scores": {}, "base": {"generalisation": 0.93}}):
        item = advise(**given, prep=once)
        assert (item.change, item.why) == (Change.AUGMENT, Why.DATA)
        assert (
            item.step == "set data.augment to rules (it was none) in params.yaml, then luna evolve"
        )
        # Rules were tried, and the language has none.
        assert advise(**given, prep=once | {"made_by_rule": {}}).change is Change.ADD_WORDINGS


def test_too_few_probes_say_how_many_are_lacking():
    few = advise({}, n=15)
    assert (few.why, few.change, few.conversations) == (Why.EXAM, Change.ADD_CONVERSATIONS, 5)
    assert "add 5 conversations" in few.step
    held = {"probes": {"recall": 100, "generalisation": 0, "choice": 15}, "held_out": 16}
    scores = {"generalisation": (0.9, 0.8, 1.0)}
    numbers = {
        name: {"value": v[0], "low": v[1], "high": v[2], "n": 100} for name, v in GOOD.items()
    }
    numbers["generalisation"]["n"] = 15
    decision = rule.decide(numbers, RULE, False)
    item = advice.advise(
        advice.Denied(decision.verdicts, TRAIN, PREP | held | {"new_conversations": 144}, [])
    )
    assert scores and item.change is Change.ADD_WORDINGS and item.why is Why.EXAM
    assert (item.wordings, item.conversations) == (5, 50)
    assert "5 other ways to ask" in item.step and "or 50 more conversations" in item.step


def test_where_the_number_of_probes_is_what_limits_it_is_raised():
    """One of 20 is left out at the exam, and 20 is the most: more conversations give not one probe more."""
    made = {"probes": {"recall": 20, "generalisation": 20, "choice": 0}}
    rows = [row(i, True) for i in range(19)]
    item = advise({}, n=19, answers=rows, prep=made, probes_per_kind=20)
    assert (item.clause, item.why, item.change) == ("recall", Why.EXAM, Change.ASK_MORE)
    assert item.step == (
        "set data.probes_per_kind to 22 (it was 20) in params.yaml, then luna evolve"
    )
    assert "data.probes_per_kind" in item.reason
    assert advice.loads(json.loads(json.dumps(item.as_json()))) == item
    # Another limit, or a smaller lesson: then it is the conversations that are too few.
    item = advise({}, n=19, answers=rows, prep=made, probes_per_kind=120)
    assert (item.change, item.conversations) == (Change.ADD_CONVERSATIONS, 1)
    assert item.step == "add 1 conversation to data/conversations, then luna evolve"


@pytest.mark.parametrize("kind", ["generalisation", "choice"])
def test_the_number_of_probes_limits_generalisation_as_well_but_not_those_that_a_person_wrote(kind):
    made = {"recall": 100, "generalisation": 0, "choice": 0}
    rows = [row(i, True, kind=kind) for i in range(19)]
    numbers = {
        name: {"value": v[0], "low": v[1], "high": v[2], "n": 100} for name, v in GOOD.items()
    }
    numbers["generalisation"]["n"] = 19
    verdicts = rule.decide(numbers, RULE, False).verdicts

    def advised(count: int, answers: list[dict]) -> advice.Advice:
        prep = PREP | {"probes": made | {kind: count}}
        denied = advice.Denied(verdicts, TRAIN, prep, answers, probes_per_kind=20)
        return advice.advise(denied)

    assert advised(20, rows).settings == (advice.Setting("data.probes_per_kind", 20, 22),)
    assert advised(19, rows).change is Change.ADD_WORDINGS
    if kind == "generalisation":
        written = [item | {"generation": None} for item in rows[:5]]
        assert advised(20, [*written, *rows[5:]]).change is Change.ADD_WORDINGS


def test_what_more_questions_could_not_save_is_no_fault_of_the_exam():
    made = {"probes": {"recall": 20, "generalisation": 20, "choice": 0}}
    rows = [row(i, i < 5) for i in range(19)]
    item = advise({"recall": (5 / 19, 0.1, 0.5)}, n=19, answers=rows, prep=made, probes_per_kind=20)
    assert (item.clause, item.why, item.change) == ("recall", Why.MODEL, Change.TRAIN_LONGER)
    # 17 of 19 and one more that is right reach 0.90.
    rows = [row(i, i < 17) for i in range(19)]
    item = advise({"recall": (17 / 19, 0.7, 1.0)}, n=19, answers=rows, prep=made)
    assert (item.why, item.change) == (Why.EXAM, Change.ADD_CONVERSATIONS)


@pytest.mark.parametrize(("count", "s"), [(1, ""), (2, "s")])
def test_one_is_not_said_in_the_plural(count, s):
    item = advice.Advice(
        "generalisation", Why.EXAM, Change.ADD_WORDINGS, conversations=count, wordings=count
    )
    assert f"{count} other way{s} to ask (" in item.step
    assert f"or {count} more conversation{s}," in item.step


def test_answers_that_were_cut_before_the_reply_ends_ask_for_a_longer_limit():
    """An answer that rambles on behind a short reply is the model's fault, and no limit helps it."""
    long = "Aye, the word is amber, " * 20
    cut = {"ended": False, "tokens": 64, "text": long[:200]}
    wrong = [row(i, reference=long, **cut) for i in range(30)]
    right = [row(i, True) for i in range(30, 100)]
    item = advise({"recall": (0.7, 0.6, 0.8)}, answers=wrong + right)
    assert (item.why, item.change) == (Why.EXAM, Change.LONGER_ANSWERS)
    [setting] = item.settings
    assert (setting.key, setting.was) == ("evaluate.max_tokens", 64)
    assert 160 <= setting.to <= 192
    rambling = [row(i, **cut) for i in range(30)]
    item = advise({"recall": (0.7, 0.6, 0.8)}, answers=rambling + right)
    assert item.change is Change.TRAIN_LONGER


def test_contradicting_replies_to_one_question_are_named():
    asked = {"messages": [["user", "When do you open?"]]}
    torn = [row(i, i % 2 == 0, expect=[("nine", "ten")[i % 2]], **asked) for i in range(24)]
    right = [row(i, True) for i in range(24, 100)]
    item = advise({"recall": (0.88, 0.8, 0.95)}, answers=torn + right)
    assert (item.why, item.change) == (Why.DATA, Change.SETTLE)
    assert item.questions == ("When do you open?",) and "When do you open?" in item.step
    # Two wordings of one answer do not contradict each other.
    same = [row(i, i % 2 == 0, expect=["nine", ("9", "9 am")[i % 2]], **asked) for i in range(24)]
    item = advise({"recall": (0.88, 0.8, 0.95)}, answers=same + right)
    assert item.change is Change.TRAIN_LONGER


def test_advice_of_another_version_is_none():
    item = advise(LOW).as_json()
    assert advice.loads(None) is None
    assert advice.loads(item | {"change": "pray"}) is None
    assert advice.loads(item | {"more": 1}) is None
    assert advice.loads(item | {"clause": "charm"}) is None


def test_a_clause_that_the_untaught_base_passes_shows_nothing():
    scores = {
        name: {"value": v[0], "low": v[1], "high": v[2], "n": 100} for name, v in GOOD.items()
    }
    decision = rule.decide(scores, RULE, False, untaught={"recall": 0.1, "generalisation": 0.95})
    verdicts = {verdict.clause: verdict for verdict in decision.verdicts}
    assert not decision.promoted and verdicts["recall"].passed
    assert verdicts["generalisation"].fault is Fault.BLIND
    assert verdicts["generalisation"].value is None
    assert "cannot tell taught from untaught" in decision.notes
    # A minimum of 0 asks for nothing, and so nothing is refused by it.
    free = shipped("promotion", min_probes=20, generalisation={"minimum": 0.0})
    assert rule.decide(scores, free, False, untaught={"generalisation": 0.95}).promoted
    assert rule.decide(
        scores, RULE, False, untaught={"recall": 0.1, "generalisation": 0.79}
    ).promoted


def test_what_the_base_scores_on_the_childs_probes():
    child = [row(i) for i in range(20)] + [
        row(i, kind="choice", distractors=["a", "b", "c"], marked_by="choice")
        for i in range(20, 40)
    ]
    base = [item | {"correct": i % 4 == 0} for i, item in enumerate(child)]
    assert untaught.scores(child, base) == {"recall": 0.25, "generalisation": 0.0}  # by chance
    knowing = [item | {"correct": True} for item in base]
    assert untaught.scores(child, knowing) == {"recall": 1.0, "generalisation": 1.0}
    # Too few that both were asked, or marked in the same way: nothing is said.
    assert untaught.scores(child[:9], base) == {}
    assert untaught.scores(child, [item | {"marked_by": "chrf"} for item in base]) == {}


def test_advice_that_is_taken_helps_and_until_then_it_is_the_next_step(line, tmp_path):
    """Denied for too few probes: as many conversations as are lacking, and the next one is promoted."""
    repo = line.copy(tmp_path / "mine")
    repo.edit_params(("min_probes: 5", "min_probes: 21"))
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("valley", range(1)))
    assert repo.json("status")["next"] == "luna evolve"
    done = repo.luna("evolve", code=1)
    status = repo.json("status")
    item = status["advice"]
    assert (item["change"], item["why"], item["conversations"]) == ("add conversations", "exam", 2)
    assert status["next"] == "add 2 conversations to data/conversations, then luna evolve"
    reason = "Recall failed because of the exam"
    assert done.stdout.splitlines()[-1] == f"next: {status['next']}"
    for text in (
        done.stdout,
        repo.luna("status").stdout,
        (repo.path / "models/EVAL.md").read_text(),
    ):
        assert reason in text and status["next"] in text
    # Another rule is another question, and so are other data.
    repo.edit_params(("min_probes: 21", "min_probes: 19"))
    assert repo.json("status")["next"] == "luna evolve"
    repo.edit_params(("min_probes: 19", "min_probes: 21"))
    assert repo.json("status")["advice"] == item
    write_jsonl(repo.path / "data/conversations/fourth.jsonl", facts("meadow", range(2)))
    assert repo.json("status")["next"] == "luna evolve" and not repo.json("status")["advice"]
    repo.luna("evolve")


def test_the_worst_answers_are_wrong_ones_in_her_own_words_first():
    choices = [row(i, kind="choice", distractors=["a"], conversation=f"c{i}") for i in range(3)]
    own = [row(i, conversation=f"c{i // 2}") for i in range(10, 16)]
    right = [row(i, True, conversation=f"c{i}") for i in range(20, 40)]
    worst = reports.worst([*right, *choices, *own])
    assert len(worst) == reports.WORST and not any(item["correct"] for item in worst)
    assert [item["probe"] for item in worst[:3]] == ["p10", "p12", "p14"]
    assert reports.worst(right) == []
