"""From answers to a verdict on a real line: the same twice, and denied on each clause alone."""

from __future__ import annotations

import csv
import json

import pytest
from conftest import Repo, shipped

from luna import params
from luna.names import GenerationName
from luna.params import Promotion
from luna.promotion import advice, compare, maturity, metrics, reports, rule

GOOD = {
    "recall": (0.95, 0.91, 0.99),
    "generalisation": (0.9, 0.86, 0.95),
    "tone_drift": (0.01, 0.0, 0.03),
}
SHIPPED = {
    "recall": "recall: {minimum: 0.90}",
    "generalisation": "generalisation: {minimum: 0.80, target: 0.85}",
    "tone_drift": "tone_drift: {maximum: 0.05}",
}
LOW = {
    "recall": "recall: {minimum: 0.0}",
    "generalisation": "generalisation: {minimum: 0.0}",
    "tone_drift": "tone_drift: {maximum: 1.0}",
}


@pytest.fixture(scope="module")
def mine(line, module_folder) -> Repo:
    """A copy of the line's last generation, to be judged again by the shipped rule."""
    repo = line.copy(module_folder / "mine")
    repo.edit_params(
        *((LOW[name], SHIPPED[name]) for name in SHIPPED), ("min_probes: 5", "min_probes: auto")
    )
    return repo


def scored(
    repo: Repo, changes: dict[str, tuple[float | None, float, float]], n: int = 100
) -> dict[str, dict]:
    """The generation's own scores.json with other numbers in it."""
    path = repo.path / "models/scores.json"
    scores = json.loads(path.read_text())
    for name, (value, low, high) in (GOOD | changes).items():
        scores[name] |= {"value": value, "low": low, "high": high, "n": n}
    path.unlink()
    path.write_text(json.dumps(scores))
    return scores


def promote(repo: Repo) -> dict:
    """The promote stage alone, as the pipeline runs it."""
    repo.run("python", "-m", "stages.promote")
    found = json.loads((repo.path / "models/metrics.json").read_text())
    row = list(csv.DictReader((repo.path / "lineage.csv").open()))[-1]
    report = (repo.path / "models/EVAL.md").read_text()
    promoted = found["decision"]["promoted_to_head"]
    assert (
        row["promoted_to_head"].lower() == str(promoted).lower()
        and ("PROMOTED TO HEAD" in report) is promoted
        and ("DENIED" in report) is not promoted
    )
    assert found["decision"]["notes"] in report
    return found["decision"]


def test_a_generation_that_holds_every_clause_is_promoted(mine):
    scored(mine, {})
    assert promote(mine)["notes"] == "All clauses hold"


@pytest.mark.parametrize(
    ("changes", "n", "says"),
    [
        ({"recall": (0.89, 0.85, 0.93)}, 100, ["Recall 0.890 is not >= 0.900"]),
        ({"generalisation": (0.78, 0.7, 0.85)}, 100, ["Generalisation 0.780 is not >= 0.800"]),
        ({"tone_drift": (0.06, 0.04, 0.08)}, 100, ["Tone drift 0.060 is not <= 0.050"]),
        (
            {},
            7,
            [
                "Recall rests on 7 probes, too few to judge: 8 are needed",
                "Generalisation rests on 7 probes, too few to judge: 8 are needed",
                "Tone drift rests on 7 probes, too few to judge: 8 are needed",
            ],
        ),
        ({"recall": (None, 0.0, 1.0)}, 100, ["Recall could not be measured"]),
    ],
)
def test_denied_on_each_clause_alone_by_the_stage(mine, changes, n, says):
    scored(mine, changes, n)
    decision = promote(mine)
    reasons = decision["notes"].split("; ")
    assert (
        not decision["promoted_to_head"]
        and len(reasons) == len(says)
        and all(reason.startswith(text) for reason, text in zip(reasons, says, strict=True))
    )


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        ("recall", "Recall's 95 % interval reaches 0.910"),
        ("generalisation", "Generalisation's 95 % interval reaches 0.860"),
        ("tone_drift", "Tone drift's 95 % interval reaches 0.030"),
    ],
)
def test_denied_on_confidence_alone_by_the_stage(mine, clause, words):
    before = (mine.path / "params.yaml").read_text()
    scored(mine, {})
    mine.edit_params(
        (
            SHIPPED[clause],
            SHIPPED[clause].replace(
                "}", f", confidence: {0.02 if clause == 'tone_drift' else 0.92}}}"
            ),
        )
    )
    decision = promote(mine)
    (mine.path / "params.yaml").write_text(before)
    assert not decision["promoted_to_head"] and decision["notes"].startswith(words)


def parts_of(line: Repo) -> dict:
    """What the stages report of the line's last generation, with good scores."""
    parts = {
        key: json.loads((line.path / "models" / name).read_text())
        for key, name in (
            ("prep", "prep.json"),
            ("train", "train_args.json"),
            ("export", "export.json"),
            ("scores", "scores.json"),
            ("eval_args", "eval_args.json"),
        )
    }
    for name, (value, low, high) in GOOD.items():
        parts["scores"][name] |= {"value": value, "low": low, "high": high, "n": 100}
    return parts


def test_a_clause_that_the_untaught_base_passes_has_no_score_anywhere(line):
    parts, base = parts_of(line), {"recall": 0.1, "generalisation": 0.95}
    decision = rule.decide(parts["scores"], shipped("promotion"), False, untaught=base)
    advised = advice.advise(advice.Denied(decision.verdicts, parts["train"], parts["prep"], []))
    name = GenerationName.parse(params.load(line.path).generation.name)
    document = metrics.build(name, None, parts, decision, None, base, advised)
    scores = document["evaluation"]
    assert scores["generalize"] is None and scores["recall"] == 0.95
    assert scores["cannot_tell"] == ["generalisation"] and scores["untaught"] == base
    assert scores["intervals"]["generalisation"] == {"n": 100, "low": None, "high": None}
    assert not document["decision"]["promoted_to_head"]
    assert metrics.ledger_row(document, "w", "t").eval_generalize is None
    grown = maturity.of_generation([], name.number, shipped("maturity"))
    text = reports.evaluation(document, decision, [], None, parts["export"], grown, advised)
    [clause] = [row for row in text.splitlines() if row.startswith("| **Generalisation** |")]
    assert clause.startswith("| **Generalisation** | - | - to - | 100 |")
    assert "cannot tell taught from untaught" in clause and advised.step in text
    shown = reports.model_card(document, None, decision, None, {}, "a base", grown)
    assert "0.900" not in (text + shown).replace(">= 0.900", "")  # but for recall's bound


@pytest.mark.parametrize("kind", ["recall", "generalisation"])
def test_denied_on_a_regression_alone(line, kind):
    """The line's own files; its answers are all wrong, so five are made right for the parent or for the child."""
    folder = line.path / "models"
    answers = [json.loads(text) for text in (folder / "answers.jsonl").read_text().splitlines()]
    before, five = (
        [dict(row) for row in answers],
        [row["probe"] for row in answers if row["kind"] == kind][:5],
    )
    for row in before:
        row["correct"] = row["probe"] in five
    parts = parts_of(line)
    bounds = {"recall": {"minimum": 0.9}, "generalisation": {"minimum": 0.8}}
    strict = shipped("promotion", **(bounds | {kind: bounds[kind] | {"no_regression": True}}))

    def decided(child: list[dict], parent: list[dict], promotion: Promotion) -> dict:
        flips = compare.flips(child, parent)
        decision = rule.decide(
            parts["scores"],
            promotion,
            False,
            {name: flips.regression(name) for name in ("recall", "generalisation")},
        )
        name = GenerationName.parse(params.load(line.path).generation.name)
        document = metrics.build(name, None, parts, decision, None)
        grown = maturity.of_generation([], name.number, shipped("maturity"))
        assert document["decision"]["notes"] in reports.evaluation(
            document, decision, child, flips, parts["export"], grown
        )
        return document["decision"]

    denied = decided(answers, before, strict)
    assert (
        not denied["promoted_to_head"]
        and denied["notes"]
        == f"{kind.capitalize()} is worse than the parent's on the same probes (McNemar p = 0.031)"
    )
    assert decided(answers, before, shipped("promotion", **bounds))[
        "promoted_to_head"
    ]  # the clause is what denies
    assert decided(before, answers, strict)["promoted_to_head"]  # five won are no regression
    four = [row | {"correct": row["probe"] in five[:4]} for row in answers]
    assert decided(answers, four, strict)["promoted_to_head"]  # four lost may be chance


def test_the_same_generation_evaluated_twice_gives_the_same_bytes(line, tmp_path):
    mine = line.copy(tmp_path / "mine")
    names = ("answers.jsonl", "scores.json")
    sealed = [(mine.path / "models" / name).read_bytes() for name in names]
    for threads in ("1", "2"):
        for name in names:
            (mine.path / "models" / name).unlink()
        mine.run("python", "-m", "stages.evaluate", env={"OMP_NUM_THREADS": threads})
        assert [(mine.path / "models" / name).read_bytes() for name in names] == sealed


def test_scores_over_generations_are_plotted(line):
    shown = json.loads(line.dvc("plots", "show", "--json"))["data"]["Scores over generations"]
    values = [value for plot in shown for value in plot["content"]["data"]["values"]]
    drawn = {
        (int(value["gen"]), value["field"]): float(value["dvc_inferred_y_value"])
        for value in values
    }
    ledger = {row["gen"]: row for row in line.json("log")}
    assert drawn == {
        (gen, column): pytest.approx(row[column])
        for gen, row in ledger.items()
        for column in ("eval_recall", "eval_generalize", "eval_tone")
    }
