"""Questions that a model says in other words: what is kept of its text, and where it is trained on."""

import json

import pytest
from conftest import write_jsonl

from luna.answering.rewrite import rewrite
from luna.conversations.rephrase import drafts, plan, requests
from luna.conversations.schema import Conversation

KEPT = [
    ("en", "Where do we keep the spare key?", '"In which place do we keep the key?"\nSure!'),
    ("en", "When does Mia's train leave?", "What time is Mia's train?"),
    ("en", "Who has badge 4471?", "Badge 4471 belongs to whom?"),
    ("de", "Wo steht das Rad?", "An welchem Ort ist das Fahrrad?"),
    ("ja", "鍵はどこですか？", "鍵の置き場所を教えてください。"),
]
LEFT_OUT = [
    ("en", "Where do we keep the spare key?", ""),
    ("en", "Where do we keep the spare key?", "where do we keep the spare key"),
    ("en", "Where do we keep the spare key?", "In which place? " * 20),
    ("en", "When does Mia's train leave?", "What time is her train?"),
    ("en", "Who has badge 4471?", "Who has the badge?"),
    ("en", "What is the rent?", "Is the rent 900 euros?"),
    ("en", "Who has badge 4471?", "?!"),
]


@pytest.mark.parametrize(("language", "question", "text"), KEPT)
def test_other_words_are_kept(language, question, text):
    assert drafts.clean(text, question, language) == text.splitlines()[0].strip('"')


@pytest.mark.parametrize(("language", "question", "text"), LEFT_OUT)
def test_what_lost_a_fact_or_is_no_question_is_left_out(language, question, text):
    assert drafts.clean(text, question, language) is None


def test_what_was_shown_does_not_get_into_a_question():
    asking = requests.of_language("en")
    assert asking.repeats_shown("the museum's parrot food", "What does the parrot eat?")
    assert not asking.repeats_shown("museum food", "What do we eat in the museum?")
    assert not asking.repeats_shown("The contents of the box?", "What is in the box?")
    assert requests.of_language("ja").repeats_shown("テントの鍵", "鍵はどこですか？")


def test_every_language_shows_as_many_ways_and_knows_what_they_are_about():
    for language in ("en", "de", "fr", "es", "ja"):
        asking = requests.of_language(language)
        assert {len(row) for row in asking.shown} == {asking.ways + 1}
        for row in asking.shown:
            assert asking.repeats_shown(row[0], "x"), row
        roles = [role for role, _ in asking.turns("Why?", 0)]
        assert roles == ["user", "assistant"] * len(asking.shown) + ["user"]
    assert requests.of_language("xx") == requests.of_language("en")


def test_the_questions_most_alike_are_those_it_must_not_be_taken_for():
    questions = [
        "Where is the red key?",
        "Where is the blue key?",
        "Who paints boats?",
        "Who sells boats?",
    ]
    near = drafts.look_alikes(questions, 1)
    assert near[questions[0]] == [questions[1]] and near[questions[3]] == [questions[2]]
    assert drafts.look_alikes(["One?"], 3) == {"One?": []}


def _said_once(key: str, question: str, reply: str) -> Conversation:
    return Conversation((("user", question), ("assistant", reply)), key)


def test_a_models_words_are_trained_on_besides_those_of_the_rules_and_never_asked():
    items = [
        _said_once("a", "Where do we keep the spare key?", "Behind the barrel."),
        _said_once("b", "Who walks the dog?", "Ben does."),
    ]
    mine = "In which corner hides the second one?"
    texts = {items[0].identity: [mine, "Who walks the dog?"]}

    def made(some):
        lesson, report = plan.with_rules(
            plan.Lesson(items, [], {1: items}), {}, [], [], 0, 20, (7, 1), some
        )
        return {item.question[-1][1]: item for item in lesson.examples}, lesson, report

    taught, lesson, report = made(texts)
    assert taught[mine].reply == "Behind the barrel."
    assert taught["Who walks the dog?"].reply == "Ben does.", "another conversation's question"
    assert report.near_another == 1
    assert set(made({})[0]) == set(taught) - {mine}, "the rules' own words stay as they are"
    assert not any(mine in item.paraphrases for item in lesson.asked[1])


def test_a_model_without_sense_adds_nothing_that_breaks_a_training(line, tmp_path):
    """Random weights, twice: the same texts, each counted; what is kept has its question's numbers."""
    repo = line.copy(tmp_path / "repo")
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in (
            ("Where do we keep spare key 12?", "Behind the barrel."),
            ("Who walks the dog?", "Ben does."),
        )
    ]
    write_jsonl(repo.path / "data/conversations/once.jsonl", rows)
    repo.edit_params(("augment: rules", "augment: model"))
    repo.luna("new")
    repo.dvc("repro", "prep")
    counted = json.loads((repo.path / "models/prep.json").read_text())["written_by_model"]
    assert counted["asked"] == 2 * requests.of_language("en").ways
    assert counted["unusable"] + counted["led_elsewhere"] + counted["kept"] == counted["asked"]
    model = repo.path / "models/model.gguf"
    asked = {"a": "Where do we keep spare key 12?", "b": "Who walks the dog?"}
    first, again = (rewrite(model, asked) for _ in range(2))
    assert first == again and first.counts == counted
    assert all("12" in text for text in first.texts["a"])


def test_nothing_is_asked_where_nothing_was_said_once(line):
    assert rewrite(line.path / "models/model.gguf", {}).counts["asked"] == 0
