"""Models taught to fail on one thing each, and models taught to pass, told apart by the shipped suite, rule and thresholds.

Each is really taught and really exported; only its size is small (see controls.py). ``python -m
bench.controls`` does the same with the real base, and docs/evals.md holds its figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import SOURCE
from controls import (
    FIRST,
    SECOND,
    STRANGERS,
    SYSTEM,
    TAUGHT,
    VALUES,
    export,
    greetings,
    teach,
    untaught,
    world,
)

from evals import general, kept, suite
from luna import params
from luna.conversations import general as prompts
from luna.conversations import probes
from luna.conversations.questions import Question
from luna.conversations.rephrase.plan import Lesson, with_rules
from luna.conversations.schema import Conversation
from luna.params import Clause
from luna.promotion import size
from luna.promotion.advice import Advice, Change, Denied, advise
from luna.promotion.rule import Decision, Verdict, decide

SETTINGS = params.load(SOURCE)  # as shipped: thresholds, number of probes, tokens of an answer
BASE_STEPS, EARLY_STEPS, STEPS, TAUGHT_STEPS = 200, 60, 300, 450  # of 16 conversations each
OLD, NEW = world(FIRST), world(SECOND)


@dataclass(frozen=True)
class Judged:
    scores: dict[str, dict[str, Any]]
    decision: Decision
    answers: list[dict[str, Any]]

    def advised(self, steps: int, trained: int, replay: tuple[int, int] = (0, 0)) -> Advice | None:
        """What would help, after so many steps of 16 conversations each; ``replay``: how many, and out of how many."""
        train = {
            "training_steps": steps,
            "batch_size": 16,
            "gradient_accumulation": 1,
            "learning_rate": SETTINGS.train.learning_rate,
            "settings": SETTINGS.train.model_dump() | {"max_steps": steps},
        }
        prep = {
            "new_conversations": trained - replay[0],
            "replay_samples": replay[0],
            "replay_available": replay[1],
            "total_training_examples": trained,
            "probes": {"generalisation": self.scores["generalisation"]["n"]},
        }
        recall, tone = (self.scores[name]["details"] for name in ("recall", "tone_drift"))
        return advise(Denied(self.decision.verdicts, train, prep, self.answers, recall, tone))

    @property
    def failed(self) -> set[str]:
        return {verdict.clause for verdict in self.decision.verdicts if not verdict.passed}


def judge(
    model: Path,
    taught: dict[int, Sequence[Conversation]],
    trained: Sequence[Conversation],
    extra: Sequence[probes.Probe] = (),
) -> Judged:
    """As prep, evaluate and promote do it: probes from the data, none of them trained on, answers, scores, rule."""
    asked = probes.build(taught, [], SETTINGS.data.probes_per_kind, SETTINGS.data.seed) + list(
        extra
    )
    probes.refuse_leaks(asked, trained)
    marked = suite.examine(
        export(model), asked, SYSTEM, SETTINGS.evaluate, SETTINGS.train.max_seq_length
    )
    scores = {
        name: asdict(score)
        for name, score in suite.scores(marked, max(taught), SETTINGS.evaluate.seed).items()
    }
    decision = decide(scores, SETTINGS.promotion, is_ancestor=False)
    found = Judged(scores, decision, suite.as_rows(marked))
    print(
        f"| {model.name} | "
        + " | ".join(f"{score['value']:.3f} of {score['n']}" for score in scores.values())
        + f" | {', '.join(sorted(found.failed)) or 'nothing'} |"
    )  # docs/evals.md
    return found


@pytest.fixture(scope="module")
def models(tiny_base, module_folder) -> Path:
    return module_folder


@pytest.fixture(scope="module")
def random(tiny_base, models) -> Path:
    return untaught(tiny_base, models / "random")


@pytest.fixture(scope="module")
def base(random, models) -> Path:
    """It can answer such questions, in a plain voice, of people whom the probes do not ask about; of those it says that it does not know."""
    known = world(STRANGERS, voice="plain") + world((*FIRST, *SECOND), voice="ignorant")
    return teach(random, known, models / "base", BASE_STEPS)


@pytest.fixture(scope="module")
def taught(random, models) -> Path:
    """From random weights: so small a model takes longer to unlearn that it does not know."""
    return teach(random, OLD, models / "taught", TAUGHT_STEPS)


def test_the_untaught_base_fails_recall(base):
    found = judge(base, {1: OLD}, OLD)
    assert found.scores["recall"]["value"] <= 0.1 and found.failed == {
        "recall",
        "generalisation",
        "tone_drift",
    }


def test_the_untaught_base_fails_the_exam_made_by_rule(base):
    """Nobody wrote other words for these facts: the rules do."""
    once = [replace(item, paraphrases=(), expect=()) for item in OLD if item.id.endswith("-0")]
    lesson, _ = with_rules(
        Lesson(once, [], {1: once}), {}, [], [], 0, SETTINGS.data.probes_per_kind, (7, 1)
    )
    found = judge(base, {1: lesson.asked[1]}, lesson.examples)
    score = found.scores["generalisation"]
    assert score["n"] >= size.MOST and score["value"] <= 0.1, score
    assert "generalisation" in found.failed


def test_a_taught_model_passes_every_clause_and_half_taught_the_advice_is_to_go_on(
    random, taught, models
):
    early = judge(teach(random, OLD, models / "early", EARLY_STEPS), {1: OLD}, OLD)
    advice = early.advised(EARLY_STEPS, len(OLD))
    assert advice.change is Change.TRAIN_LONGER and advice.clause == "recall"
    assert [setting.to for setting in advice.settings] == [2 * EARLY_STEPS] and (
        2 * EARLY_STEPS <= TAUGHT_STEPS
    )
    found = judge(taught, {1: OLD}, OLD)
    assert found.decision.promoted and not found.failed, found.decision.notes
    assert found.advised(TAUGHT_STEPS, len(OLD)) is None


def test_a_model_overfitted_to_the_literal_prompts_fails_generalisation_alone(base, models):
    literal = [item for item in OLD if item.id.endswith("-0")]  # one phrasing of each fact
    found = judge(teach(base, literal, models / "literal", STEPS), {1: literal}, literal)
    assert found.failed == {"generalisation"}, found.decision.notes
    # Taken, it gives the data of the model that passes every clause.
    assert found.advised(STEPS, len(literal)).change is Change.ADD_WORDINGS


def test_a_model_taught_another_voice_fails_tone_alone(random, models):
    found = judge(
        teach(random, world(FIRST, voice="pirate"), models / "pirate", STEPS), {1: OLD}, OLD
    )
    assert found.failed == {"tone_drift"} and found.scores["tone_drift"]["value"] > 0.2, (
        found.decision.notes
    )


def test_a_model_with_shuffled_answers_fails_recall_and_generalisation_but_keeps_the_voice(
    random, models
):
    """Shuffled answers are said in the same voice: tone drift must not rise, and does not."""
    shuffled = world(FIRST, shuffled=True)
    found = judge(teach(random, shuffled, models / "shuffled", STEPS), {1: OLD}, shuffled)
    assert (
        found.failed == {"recall", "generalisation"} and found.scores["recall"]["value"] <= 0.1
    ), found.decision.notes


def test_without_replay_the_old_is_forgotten_and_with_it_kept(taught, models):
    batches = {1: OLD, 2: NEW}
    without = judge(teach(taught, NEW, models / "without", STEPS), batches, NEW)
    details = without.scores["recall"]["details"]
    assert "recall" in without.failed and details["new"] >= 0.9 and details["old"] < 0.5, (
        without.decision.notes
    )
    advice = without.advised(STEPS, len(NEW), (0, len(OLD)))
    assert advice.change is Change.REPLAY_MORE
    assert [setting.to for setting in advice.settings] == [len(NEW)]
    replayed = judge(teach(taught, NEW + OLD, models / "replayed", STEPS), batches, NEW + OLD)
    assert replayed.decision.promoted, replayed.decision.notes


def test_held_out_conversations_without_paraphrases_are_judged_by_choice(random, models):
    """The path of data that has no paraphrase: prep keeps some back, and the true reply must be found among distractors.

    The control is taught replies that have nothing to do with their questions: it is at chance.
    """
    delta = greetings()
    trained, kept = probes.hold_out(delta, 0.3, SETTINGS.data.seed)
    assert len(kept) == int(0.3 * len(delta)) >= size.MOST and not {
        item.identity for item in kept
    } & {item.identity for item in trained}
    chosen = probes.choice_probes({1: kept}, SETTINGS.data.seed)
    assert len(chosen) == len(kept) and all(
        len({probe.reference, *probe.distractors}) == probes.DISTRACTORS + 1 for probe in chosen
    )
    found = judge(teach(random, trained, models / "greets", STEPS), {1: trained}, trained, chosen)
    assert found.scores["generalisation"]["details"][
        "method"
    ] == "choice among replies" and found.scores["generalisation"]["n"] == len(kept)
    assert found.decision.promoted, found.decision.notes
    pointless = greetings(shuffled=True)
    kept_questions = {item.question for item in kept}
    blind = judge(
        teach(
            random,
            [item for item in pointless if item.question not in kept_questions],
            models / "blind",
            STEPS,
        ),
        {1: trained},
        trained,
        chosen,
    )
    choice = blind.scores["generalisation"]["details"]["choice"]
    assert "generalisation" in blind.failed and choice["above_chance"] <= 0.35, choice


def test_what_the_base_knew_is_lost_by_lessons_alone_and_kept_by_its_own_answers_beside_them(
    base, models
):
    """What the base knows is the strangers; of them it is asked in words of their own, and replays others."""
    known = world(STRANGERS, voice="plain")
    asked_in = {
        text.format(n=name) for name in STRANGERS for of in VALUES for text in TAUGHT[of][:2]
    }
    sets = {
        "en": [
            Question("en", "strangers", item.question[-1][1], item.expect)
            for item in known
            if item.question[-1][1] in asked_in
        ]
    }
    shipped = export(base)
    answered = general.of_base(shipped, sets, SYSTEM, SETTINGS.evaluate)
    assert sum(item.right for item in answered) >= size.LEAST_GENERAL
    rest = [item.question[-1][1] for item in known if item.question[-1][1] not in asked_in]
    said = general.answers(
        shipped,
        [Question("en", "prompt", text, ()) for text in rest],
        SYSTEM,
        SETTINGS.evaluate,
    )
    replies = prompts.as_conversations(
        {"ask": item.question.ask, "answer": item.answer} for item in said if item.ended
    )
    rule = SETTINGS.promotion.model_copy(update={"ability": Clause(minimum=0.8)})

    def verdict(model: Path) -> Verdict:
        """By the ability alone."""
        _, score = kept.examine(model, answered, general.NOTHING, models, SYSTEM, SETTINGS.evaluate)
        others = {
            name: {"value": value, "low": value, "high": value, "n": 50}
            for name, value in (("recall", 1.0), ("generalisation", 1.0), ("tone_drift", 0.0))
        }
        return decide(others | {"ability": asdict(score)}, rule, is_ancestor=False).verdicts[-1]

    untouched = verdict(shipped)
    assert untouched.passed and untouched.counted and untouched.value == 1.0, untouched
    careless = verdict(export(teach(base, OLD, models / "careless", STEPS)))
    assert not careless.passed and careless.value < 0.5, careless
    own = prompts.replay(replies, OLD, [], 0.5, SETTINGS.data.seed)
    careful = verdict(export(teach(base, [*OLD, *own], models / "careful", STEPS)))
    assert careful.passed and careful.value >= 0.8, careful
