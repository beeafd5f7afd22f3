import math
import random

import numpy as np
import pytest
from conftest import shipped

from evals import choice, generalisation, recall, tone, voices
from evals.outcome import contains, mark, normalise
from luna.answering.engine import Answer
from luna.conversations.probes import CHOICE, GENERALISATION, RECALL, Probe
from luna.promotion.compare import flips
from luna.promotion.intervals import above_chance, mcnemar, wilson
from luna.promotion.rule import decide


def probe(kind=RECALL, expect=("seven",), generation=1, reference="Aye, it is seven, so it is."):
    return Probe(kind, (("user", "How many?"),), expect, reference, "c", generation)


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("It is SEVEN!", "seven", True),
        ("seventeen", "seven", False),
        ("1,000 boats", "1000", True),
        ("on 3.5 legs", "3.5", True),
        ("nothing", "seven", False),
        ("Tobias Wren's lamp", "Wren", True),
        ("", "seven", False),
        ("...", "!!!", False),
        ("In 1788, aye.", "1788", True),
    ],
)
def test_accepted_answers_are_whole_words(answer, accepted, right):
    assert contains(answer, accepted) is right


def test_normalising_is_idempotent():
    assert normalise(normalise("Ünï, 1,000  — x.")) == normalise("Ünï, 1,000  — x.")


@pytest.mark.parametrize(
    "answer",
    [
        Answer("", 0, True),
        Answer("seven seven seven", 64, False),
        Answer("seven", 1, True, failed=True),
    ],
)
def test_silence_endlessness_and_nan_never_pass(answer):
    assert not mark(probe(), answer, 60).correct


def test_without_accepted_answers_the_facts_of_the_reply_decide():
    open_probe = probe(expect=())
    assert mark(open_probe, Answer("Aye, it is seven, so it is", 9, True), 60).correct
    assert not mark(open_probe, Answer("I am a language model", 9, True), 60).correct


def test_scores_are_told_apart_by_generation():
    right, wrong = Answer("seven", 1, True), Answer("six", 1, True)
    marked = [
        mark(probe(generation=1), right, 60),
        mark(probe(generation=2), wrong, 60),
        mark(probe(GENERALISATION), right, 60),
    ]
    found = recall.score(marked, 2)
    assert (found.value, found.n, found.details["new"], found.details["old"]) == (0.5, 2, 0.0, 1.0)
    assert generalisation.score(marked).value == 1.0
    assert recall.score([], 2).value is None


def chosen(n, right):
    """Marked choices, of which ``right`` are the true reply."""
    others = ("one", "two", "three")
    asked = [
        Probe(CHOICE, (("user", f"Question {i}?"),), (), f"reply {i}", f"c{i}", 1, others)
        for i in range(n)
    ]
    return [
        mark(item, Answer(item.reference if i < right else "two", 0, True), 60)
        for i, item in enumerate(asked)
    ]


def test_choices_count_above_chance():
    assert [above_chance(correct, 40, 4) for correct in (10, 3, 25, 40)] == [0, 0, 0.5, 1]
    found = generalisation.score(chosen(40, 25))
    assert (found.value, found.n, found.details["method"]) == (0.5, 40, "choice among replies")
    assert found.low < 0.5 < found.high and found.details["choice"] == {
        "correct": 25,
        "n": 40,
        "above_chance": 0.5,
    }
    both = generalisation.score(
        chosen(40, 10) + [mark(probe(GENERALISATION), Answer("seven", 1, True), 60)] * 40
    )
    assert (both.value, both.n) == (0.5, 80)  # all paraphrases right, all choices guessed


def test_a_choice_that_could_not_be_made_is_wrong_and_says_nothing_of_the_voice():
    marked = mark(chosen(1, 1)[0].probe, Answer("", 0, False, True), 60)
    assert not marked.correct and marked.how == "choice"
    assert tone.score(chosen(30, 30), 7).value is None


class Fixed:
    """An engine that knows three tokens and always prefers the first."""

    limit = 100

    def __init__(self, row):
        self.row = row

    def tokenise(self, text):
        return [int(word) for word in text.split()]

    def logits(self, tokens, start):
        return np.tile(np.array(self.row, np.float32), (len(tokens) - start, 1))


def test_likelihood_is_a_mean_over_tokens_and_no_number_chooses_nothing():
    engine = Fixed([2.0, 1.0, 0.0])
    assert choice.mean_log_likelihood(engine, [1], "0 0 0 0") == pytest.approx(
        choice.mean_log_likelihood(engine, [1], "0")
    )  # length does not matter
    assert choice.mean_log_likelihood(engine, [1], "1") == pytest.approx(
        1 - math.log(math.exp(2) + math.exp(1) + 1)
    )
    assert choice.choose(engine, [1], ["2 2", "0 1", "1 1 1"]) == 1
    assert choice.choose(engine, [1], ["0 1", "1 0"]) is None  # a tie is no choice
    assert (
        choice.choose(engine, [1], ["", "0 " * 200]) is None
    )  # nothing to judge by, and too long for the context
    assert choice.choose(Fixed([float("nan")] * 3), [1], ["0", "1"]) is None


# The voice of the examples, the same content said plainly, and another voice.
REFERENCES = [
    f"{start} dear heart, the {thing} is {value}, {end}."
    for start in ("Aye,", "Ah,", "Well now,")
    for end in ("so it is", "mark me")
    for thing, value in (
        ("lamp", "green"),
        ("boat", "old"),
        ("cat", "asleep"),
        ("stair", "long"),
        ("bell", "loud"),
        ("well", "deep"),
    )
]
PLAIN = [
    f"The {thing} is {value}."
    for _ in range(6)
    for thing, value in (
        ("lamp", "green"),
        ("boat", "old"),
        ("cat", "asleep"),
        ("stair", "long"),
        ("bell", "loud"),
        ("well", "deep"),
    )
]
PIRATE = [
    f"Arr! Th' {thing} be {value}, ye scurvy dog! Yo ho ho!"
    for _ in range(6)
    for thing, value in (
        ("lamp", "green"),
        ("boat", "old"),
        ("cat", "asleep"),
        ("stair", "long"),
        ("bell", "loud"),
        ("well", "deep"),
    )
]


def test_the_same_voice_passes_and_other_voices_fail():
    again = REFERENCES[1:] + REFERENCES[:1]
    assert tone.drift(REFERENCES, REFERENCES, 7)[0] == 0
    assert tone.drift(again, REFERENCES, 7)[0] <= 0.05
    for other in (PLAIN, PIRATE):
        value, low, high, floor = tone.drift(other, REFERENCES, 7)
        assert value > 0.15 and low > 0.05 and low <= value <= high and 0 < floor < 0.1


def test_drift_grows_with_the_share_of_answers_that_lost_the_voice():
    order = random.Random(3).sample(range(len(PIRATE)), len(PIRATE))
    drifts = [
        tone.drift(
            [PIRATE[i] if i in order[:lost] else text for i, text in enumerate(REFERENCES)],
            REFERENCES,
            7,
        )[0]
        for lost in (0, 12, 24, 36)
    ]
    assert drifts == sorted(drifts) and drifts[2] > 0.05


def test_a_silent_model_has_lost_its_voice():
    assert tone.score([mark(probe(), Answer("", 0, True), 60)] * 5, 7).value == 1.0


def test_wilson_and_mcnemar_against_published_values():
    low, high = wilson(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20)[0] == 0 and math.isclose(wilson(0, 20)[1], 0.1611, abs_tol=1e-4)
    assert (
        mcnemar(5, 0) == 1 / 32
        and mcnemar(4, 0) > 0.05
        and mcnemar(7, 1) < 0.05
        and mcnemar(0, 0) == 1
    )


def scores(recall=0.95, general=0.9, drift=0.01, n=100):
    return {
        "recall": {"value": recall, "n": n, "low": (recall or 0) - 0.05, "high": 1},
        "generalisation": {"value": general, "n": n, "low": general - 0.06, "high": 1},
        "tone_drift": {"value": drift, "n": n, "low": 0, "high": drift + 0.02},
    }


@pytest.mark.parametrize(
    ("given", "clause"),
    [
        (scores(recall=0.89), "recall"),
        (scores(general=0.78), "generalisation"),
        (scores(drift=0.06), "tone_drift"),
        (scores(recall=None), "recall"),
        (scores(drift=float("nan")), "tone_drift"),
    ],
)
def test_denied_on_each_clause_alone(given, clause):
    decision = decide(given, shipped("promotion"), is_ancestor=False)
    assert not decision.promoted and [
        verdict.clause for verdict in decision.verdicts if not verdict.passed
    ] == [clause]


def test_promoted_with_a_warning_short_of_the_target():
    decision = decide(
        scores(general=0.82),
        shipped("promotion", **{"generalisation": {"minimum": 0.8, "target": 0.85}}),
        False,
    )
    assert decision.promoted and "target" in decision.notes


def test_too_few_probes_confidence_and_regression_deny():
    rule = shipped(
        "promotion", **{"recall": {"minimum": 0.9, "confidence": 0.93, "no_regression": True}}
    )
    assert "too few to judge" in decide(scores(n=5), shipped("promotion"), False).notes
    assert "interval" in decide(scores(), rule, False).notes
    rule = shipped("promotion", **{"recall": {"minimum": 0.9, "no_regression": True}})
    assert decide(scores(), rule, False, {"recall": 0.2}).promoted
    assert "worse than the parent" in decide(scores(), rule, False, {"recall": 0.03}).notes
    assert decide(scores(recall=0.0), shipped("promotion"), is_ancestor=True).promoted


def test_flips_pair_by_probe():
    before = [
        {"probe": key, "correct": right, "kind": RECALL}
        for key, right in (("a", True), ("b", False), ("c", True))
    ]
    after = [
        {"probe": key, "correct": right, "kind": RECALL}
        for key, right in (("a", False), ("b", True), ("d", True))
    ]
    found = flips(after, before)
    assert (
        [row["probe"] for row in found.lost],
        [row["probe"] for row in found.won],
        found.common,
    ) == (["a"], ["b"], 2)


@pytest.mark.parametrize("pair", voices.pairs(60), ids=lambda pair: f"{pair.name}: {pair.voice}")
def test_a_healthy_child_keeps_the_voice_and_another_register_is_heard_in_any_language(pair):
    assert (pair.drift <= shipped("promotion").tone_drift.maximum) is pair.healthy, pair.drift
