"""luna diff of generations: a line with a denial, a clone without weights, a long line, and damage."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Repo

from luna import params
from luna.forensics.diff import answers, compare, weights
from luna.forensics.diff.known import number, read
from luna.history.line import read_line
from luna.history.lineage import lineage
from luna.model import evolution
from luna.scores import BY_NAME


@pytest.fixture
def mine(line, tmp_path) -> Repo:
    return line.copy(tmp_path / "mine")


def table(repo: Repo, gen: int) -> dict[str, evolution.Tensor]:
    name = repo.json("log")[gen]["name"]
    return {
        item.tensor: item
        for item in evolution.loads(
            repo.run("git", "show", f"{name}:models/weight_change.csv").stdout
        )
    }


def changes(found: dict) -> dict[str, float]:
    return {row["tensor"]: row["change"] for row in found["weights"]["tensors"]}


def test_parent_and_child_as_they_were_recorded(line):
    found = line.json("diff", "G001", "HEAD", "--tensors")
    own = table(line, 3)
    assert found["weights"]["how"] == "recorded"
    assert changes(found) == {name: item.change for name, item in own.items()}
    metrics = json.loads((line.path / "models/metrics.json").read_text())
    assert all(
        found["weights"][key] == metrics["evolution"][key]
        for key in (
            "changed_layers",
            "total_layers",
            "weight_change_percent",
            "most_evolved",
            "most_evolved_depths",
        )
    )
    assert found["weights"]["changed_layers"] == 14
    assert found["weights"]["total_layers"] == len(own) == 20
    assert found["weights"]["relative_change"] == pytest.approx(
        metrics["evolution"]["relative_change"], rel=1e-4
    )
    assert [row["generation"] for row in found["data"]["added"]] == [3] * 6
    assert found["data"]["missing"] == []
    assert all(
        "island word" in row["question"] and row["reply"].startswith("Aye")
        for row in found["data"]["added"]
    )
    flips = found["evals"]["flips"]
    assert flips["common"] == 24
    assert flips["only_in_b"] == 12
    assert flips["note"] is None
    model = next(row for row in found["artifacts"] if row["path"] == "models/model.gguf")
    rows = line.json("log")
    assert (model["a"]["sha256"], model["b"]["sha256"], model["same"]) == (
        rows[1]["weights_sha256"],
        rows[3]["weights_sha256"],
        False,
    )
    assert found["verdict"]["word"] in (
        "IMPROVEMENT",
        "REGRESSION",
        "MIXED",
        "NO CHANGE",
    )
    assert "different probes" in " ".join(found["verdict"]["notes"])
    assert found["params"] == []
    assert found["versions"] == []
    assert not found["marks"]


def test_the_text_has_the_sections_of_the_json(line):
    text = line.luna("diff", "1", "3").stdout
    assert text.startswith("GENERATION DIFF: G001 → G003")
    places = [
        text.index(f"\n{title}")
        for title in ("Weights:", "Evals:", "Training:", "Artifacts (", "Verdict: ")
    ]
    assert places == sorted(places)
    assert "Changed:              14/20 layers (70 %" in text
    assert "+6 conversations" in text
    assert "Steps:                4 → 4 (+0)" in text
    assert "model.layers.1.mlp.down_proj.weight" in line.luna("diff", "1", "3", "--tensors").stdout


def test_any_two_and_both_directions(line):
    base, newest = table(line, 0), table(line, 3)
    down, up = line.json("diff", "0", "3", "--tensors"), line.json("diff", "3", "0", "--tensors")
    assert changes(down) == {name: item.drift for name, item in newest.items()}
    assert down["weights"]["how"] == "recorded"
    for name, value in changes(up).items():
        assert value * newest[name].norm == pytest.approx(
            newest[name].drift * base[name].norm, rel=1e-4, abs=1e-9
        )
    back = changes(line.json("diff", "3", "1", "--tensors"))
    assert all(
        value * newest[name].norm
        == pytest.approx(newest[name].change * newest[name].parent_norm, rel=1e-4, abs=1e-9)
        for name, value in back.items()
    )
    same = line.json("diff", "3", "3")
    assert same["weights"]["changed_layers"] == 0
    assert same["verdict"]["word"] == "NO CHANGE"
    assert all(row["same"] for row in same["artifacts"])
    # G002 was denied and G003 was taught the same by the same seed: their adapters are equal, found through their common parent.
    cousins = line.json("diff", "2", "3", "--tensors")
    assert cousins["weights"]["how"] == "adapters"
    assert "2 adapters" in cousins["weights"]["note"]
    assert max(changes(cousins).values()) < 1e-9
    assert [row["key"] for row in cousins["params"]] == ["promotion.recall.minimum"]
    assert {row["conversation"] for row in cousins["data"]["added"]} == set()


def test_the_sum_of_adapters_is_what_the_weights_say(line):
    found = read_line(line.path, "Luna")
    whole = lineage(found)
    [known] = read(found, [whole.entries[0]])
    moved, how, _ = weights._by_adapters(found, known, [0], [0, 1, 3])
    assert how == "adapters"
    for item in moved:  # the recorded drift is of the rounded weights
        assert item.change == pytest.approx(table(line, 3)[item.tensor].drift, rel=0.02, abs=1e-9)


def test_a_clone_without_weights_says_all_that_git_knows(line, tmp_path):
    line.run(
        "git",
        "clone",
        "-q",
        "--no-local",
        str(line.path),
        str(tmp_path / "clone"),
        env={"GIT_TEMPLATE_DIR": ""},
    )
    clone = Repo(tmp_path / "clone")
    found = clone.json("diff", "1", "3")
    assert found["weights"]["changed_layers"] == 14
    assert len(found["data"]["added"]) == 6
    assert not found["marks"]
    assert found["evals"]["flips"]["lost"] is None
    assert "luna restore G001" in found["evals"]["flips"]["note"]
    cousins = clone.json("diff", "2", "3")["weights"]
    assert cousins["how"] == "unknown"
    assert "changed_layers" not in cousins
    assert "luna restore G002" in cousins["note"]
    text = clone.luna("diff", "2", "3").stdout
    assert "not known here" in text
    assert "Changed:" not in text


def test_flips_are_told_with_both_answers(line, tmp_path):
    mine = line.copy(tmp_path / "mine")
    found = read_line(mine.path, "Luna")
    entries = lineage(found).entries
    a, b = read(found, [entries[1], entries[3]])
    from luna.storage import cache

    for known, right in ((a, "right"), (b, "wrong")):
        path = cache.path_of(mine.path, known.outs["models/answers.jsonl"].md5)
        rows = [
            json.loads(row) | {"correct": right == "right", "text": f"{right}\x1b[2J"}
            for row in path.read_text().splitlines()
        ]
        path.chmod(0o644)
        path.unlink()
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flips = answers.section(mine.path, a, b)
    assert len(flips["lost"]) == 24
    assert not flips["won"]
    assert flips["lost"][0]["a"].startswith("right")
    assert flips["lost"][0]["b"].startswith("wrong")
    assert flips["p_worse"]["recall"] < 0.001
    text = mine.luna("diff", "1", "3").stdout
    assert "0 became right, 24 became wrong" in text
    assert "lost: What is the harbour word" in text
    assert "\x1b" not in text
    assert "and 16 more" in text
    path.unlink()
    path.write_text("{oops\n")
    assert "cannot be read" in mine.json("diff", "1", "3")["evals"]["flips"]["note"]


def test_unknown_generations_are_named(line):
    for arguments, says in (
        (("1", "99"), "There is no generation '99'"),
        (("Luna-G001-20200101-000000", "3"), "There is no generation"),
        (("nowhere", "elsewhere"), "neither a generation nor a file"),
    ):
        assert says in line.luna("diff", *arguments, code=2).stderr


def test_damaged_records_are_marked_and_give_no_number(mine):
    damage = {
        "models/metrics.json": "{oops",
        "models/weight_change.csv": "tensor,kind\n",
        "models/hashes.csv": "path,bytes,sha256\na,b\n",
        "params.yaml": "line: [",
        "models/taught.csv": "x\n",
        "models/export.json": "[]",
        "models/train_args.json": "",
    }
    whole = (mine.path / "params.yaml").read_text()
    mine.forge(damage)
    (mine.path / "params.yaml").write_text(whole)
    done = mine.luna("diff", "1", "3", "--json", code=1)
    found = json.loads(done.stdout)
    for path in damage:
        assert f"{path} of G003 is missing or cannot be read" in found["marks"]
        assert path in done.stderr
    # G001's record and the adapter between them are whole.
    assert found["weights"]["how"] == "adapters"
    assert found["weights"]["total_drift"]["b"] is None
    assert found["training"]["steps"] == {"a": 4, "b": None}
    assert found["evals"]["scores"]["recall"]["b"]["n"] is None
    assert found["data"]["added"] is None
    assert found["params"] is None
    assert all(row["b"] is None for row in found["artifacts"])
    assert "not known" in mine.luna("diff", "1", "3", code=1).stdout
    back = json.loads(mine.luna("diff", "3", "1", "--json", code=1).stdout)["weights"]
    assert back["how"] == "unknown"
    assert "changed_layers" not in back


def test_a_broken_ledger_row_is_marked(long, tmp_path):
    mine = long.copy(tmp_path / "mine")
    lines = (mine.path / "lineage.csv").read_text().splitlines(keepends=True)
    lines[60] = "59,garbage\n"
    mine.forge({"lineage.csv": "".join(lines)})
    done = mine.luna("diff", "2", "100", code=1)
    assert "line 61 is not a row of the ledger" in done.stderr
    assert "not known here" in done.stdout or "G0" in done.stdout


def test_git_is_asked_as_often_for_far_as_for_near(long, tmp_path):
    counts = {}
    for pair in (("3", "110"), ("50", "90"), ("70", "71")):
        trace = tmp_path / "-".join(pair)
        long.luna("diff", *pair, code=None, env={"GIT_TRACE2_EVENT": str(trace)})
        counts[pair] = sum('"event":"start"' in row for row in trace.read_text().splitlines())
    assert max(counts.values()) <= 12, counts


def test_an_adapter_that_says_nothing_or_something_else_is_not_believed(long):
    """The long line's adapters are stand-ins: without real ones there is no distance, and no zero in its place."""
    far = next(gen for gen in range(60, 120) if long.json("log")[gen]["on_head_line"])
    found = long.json("diff", "30", str(far))["weights"]
    assert found["how"] == "unknown"
    assert "changed_layers" not in found
    assert "luna restore" in found["note"]


def test_scores_decide_the_word():
    def score(a, b, less=False):
        delta = None if a is None or b is None else b - a
        return {
            "a": {"value": a},
            "b": {"value": b},
            "delta": delta,
            "better": None if not delta else (delta < 0) == less,
        }

    flips = {"common": None, "lost": None}
    for scores, word in (
        ((score(0.8, 0.9), score(0.8, 0.9), score(0.04, 0.02, True)), "IMPROVEMENT"),
        ((score(0.9, 0.8), score(0.8, 0.7), score(0.02, 0.04, True)), "REGRESSION"),
        ((score(0.9, 0.8), score(0.8, 0.9), score(0.02, 0.02, True)), "MIXED"),
        ((score(0.9, 0.9), score(0.8, 0.8), score(0.02, 0.02, True)), "NO CHANGE"),
        ((score(None, 0.9), score(0.8, None), score(None, None, True)), "UNKNOWN"),
    ):
        named = dict(
            zip(BY_NAME, (*scores, score(None, None)), strict=True)
        )  # ability: not measured
        assert compare._verdict(named, True, True, flips)["word"] == word
    assert "different measures" in compare._verdict(named, True, False, flips)["notes"][0]


@pytest.mark.parametrize("before", ["facts 1, tone 1", None])
def test_scores_by_different_measures_are_not_subtracted(before):
    def known(method: str | None, value: float) -> SimpleNamespace:
        scores = {"recall": value, "generalize": value, "tone_drift": 0.01}
        metrics = {"evaluation": scores | ({"method": method} if method else {})}
        return SimpleNamespace(metrics=metrics, number=partial(number, metrics))

    old, new = known(before, 0.8), known("facts 1, tone 2", 0.9)
    scores = compare._scores(old, new)
    assert {score["delta"] for score in scores.values()} == {None}
    assert scores["recall"]["b"]["value"] == 0.9
    assert compare._scores(known(before, 0.8), known(before, 0.9))["recall"]["delta"] == 0.1


def test_plots_show_loss_scores_and_weights_by_depth(mine):
    assert params.load(mine.path).export.changed_tensor_threshold == 0.02
    shown = json.loads(mine.dvc("plots", "show", "--json"))["data"]
    assert {
        "Weight change by depth",
        "Scores over generations",
        "Weights changed over generations",
    } <= set(shown)
    assert any("loss" in key for key in shown)
    for charts in shown.values():
        for chart in charts:
            content = (
                chart["content"]
                if isinstance(chart["content"], str)
                else json.dumps(chart["content"])
            )
            assert "<DVC_METRIC" not in content
    cells = shown["Weight change by depth"][0]["content"]["data"]["values"]
    assert {row["depth"] for row in cells if float(row["change"])} == {"0", "1"}
    assert Path(mine.dvc("plots", "show", "-o", "charts").removeprefix("file://")).is_file()
