"""The ledger, the parents and the batch of a build come from history: nothing that the workspace says reaches a seal."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
import yaml
from conftest import facts, write_jsonl

from luna.history.line import read_line
from luna.operations import recorded
from luna.operations.seal import seal

LEDGER, BUILD = "lineage.csv", "models/build.json"


def edited(repo, gen, column, value):
    """Change one cell of the workspace's ledger; returns the sealed text."""
    path = repo.path / LEDGER
    sealed = path.read_text()
    rows = [row.split(",") for row in sealed.splitlines()]
    row = next(row for row in rows if row[0] == str(gen))
    row[rows[0].index(column)] = value
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return sealed


def value(text, gen, column):
    """A cell of a ledger."""
    return next(row for row in csv.DictReader(text.splitlines()) if row["gen"] == str(gen))[column]


def new_conversations(repo, subject="valley", count=4):
    write_jsonl(repo.path / f"data/conversations/{subject}.jsonl", facts(subject, range(count)))


def repro(repo, *arguments):
    return repo.run(sys.executable, "-m", "dvc", "repro", *arguments, code=None)


def sealed_rows(repo, commit="HEAD"):
    return repo.run("git", "show", f"{commit}:{LEDGER}").stdout


def test_what_is_edited_or_arrives_while_a_generation_is_built_reaches_no_seal(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    past = edited(repo, 1, "parent", "base")
    new_conversations(repo)
    said = repo.luna("new").stderr
    assert "generation 1, parent: '0' became 'base'" in said and "put back to the tip" in said
    assert (repo.path / LEDGER).read_text() == past

    # The ledger is gone, and a conversation arrives before the pipeline has run.
    (repo.path / LEDGER).unlink()
    new_conversations(repo, "forest", 3)
    assert repro(repo).returncode == 0
    (repo.path / "data/conversations/late.jsonl").write_text("no conversation\n")
    repo.luna("seal")
    assert sealed_rows(repo).startswith(past) and len(sealed_rows(repo).splitlines()) == 6
    assert "up to date" in repo.dvc("status")
    learnt = [
        json.loads(row)["id"]
        for name in ("data_delta", "held_out")
        for row in (repo.path / f"models/{name}.jsonl").read_text().splitlines()
    ]
    assert len(learnt) == 4 and all(name.startswith("valley") for name in learnt)
    (repo.path / "data/conversations/late.jsonl").unlink()
    assert repo.json("status")["pending"]["conversations"] == 3
    repo.luna("verify", "--quick")


def test_a_seal_refuses_past_rows_that_are_not_the_sealed_ones(built, tmp_path):
    repo = built.copy(tmp_path / "repo")
    was = value(sealed_rows(repo), 1, "eval_tone")
    edited(repo, 1, "eval_tone", "0.5")
    repo.dvc("commit", "--force", "promote")
    before = repo.snapshot()
    said = repo.luna("seal", code=2).stderr
    assert f"generation 1, eval_tone: '{was}' became '0.5'" in said and "nothing was sealed" in said
    assert repo.snapshot() == before
    repo.dvc("repro", "--force", "--single-item", "promote")
    repo.luna("seal")


def test_number_and_parent_are_those_that_new_recorded(built, tmp_path):
    repo = built.copy(tmp_path / "repo")
    build = json.loads((repo.path / BUILD).read_text())
    denied, name = repo.git("tag", "-l", "Luna-G002-*"), build["name"]
    phantom = name.replace("G004", "G099")
    repo.edit_params((f"name: {name}", f"name: {phantom}"), (build["parent"], denied))
    before = repo.snapshot()
    prep = repo.run(sys.executable, "-m", "stages.prep", code=2)  # as 'dvc repro' runs it
    for done in (repo.luna("seal", code=2), repo.luna("evolve", code=2), prep):
        assert f"'luna new' started {name}" in done.stderr
    assert repo.snapshot() == before

    # The record of the build edited with it: the tags tell.
    (repo.path / BUILD).write_text(json.dumps(build | {"name": phantom, "parent": denied}))
    assert "which is number 4" in forced(repo)
    params = (repo.path / "params.yaml").read_text().replace(phantom, name)
    (repo.path / "params.yaml").write_text(params)
    (repo.path / BUILD).write_text(json.dumps(build | {"parent": denied}))
    assert "the head was Luna-G003" in forced(repo)
    assert repo.references() == before[0]


def forced(repo):
    """What a seal says of results that DVC was told to take as they are."""
    metrics = repo.path / "models/metrics.json"
    document = json.loads(metrics.read_text())
    document["generation"]["name"] = yaml.safe_load((repo.path / "params.yaml").read_text())[
        "generation"
    ]["name"]
    metrics.write_text(json.dumps(document))
    repo.dvc("commit", "--force")
    return repo.luna("seal", code=2).stderr


def test_an_experiment_in_the_workspace_is_put_back_by_new(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    before = repo.references()
    repo.dvc("exp", "run", "-S", "promotion.recall.minimum=0.9")
    assert sealed_rows(repo) != (repo.path / LEDGER).read_text()
    new_conversations(repo)
    said = repo.luna("new").stderr
    assert "generation 3, promoted_to_head: 'true' became 'false'" in said
    assert "promotion.recall.minimum is 0.9 (0.0 at the tip)" in said
    assert repo.git("status", "--porcelain", "--untracked-files=no").split() == [
        "M",
        BUILD,
        "M",
        "params.yaml",
    ]
    [added] = [
        row
        for row in sorted(set(repo.references().splitlines()) - set(before.splitlines()))
        if not row.startswith("refs/exps/")
    ]
    assert added.startswith("refs/quarantine/workspace/0 ")
    kept = repo.run("git", "show", f"refs/quarantine/workspace/0:{LEDGER}").stdout
    assert kept.splitlines()[-1].split(",")[-2] == "false"


def test_queued_experiments_find_their_ancestors_without_tags(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    before = repo.snapshot()
    repo.dvc("exp", "run", "--queue", "-S", "train.learning_rate=0.003")
    repo.dvc("exp", "run", "--run-all")
    shown = json.loads(repo.dvc("exp", "show", "--json"))
    [ran] = shown[1]["experiments"]
    data = ran["revs"][0]["data"]
    assert data["params"]["params.yaml"]["data"]["train"]["learning_rate"] == 0.003
    assert data["metrics"]["models/metrics.json"]["data"]["training"]["learning_rate"] == 0.003
    references, files = repo.snapshot()
    assert files == before[1] and all(
        row in references.splitlines() for row in before[0].splitlines()
    )
    repo.luna("verify", "--quick")


def test_another_generations_files_in_the_workspace_are_named_and_put_back(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    first = repo.git("tag", "-l", "Luna-G001-*")
    repo.git("checkout", first, "--", ".")
    new_conversations(repo)
    before = repo.snapshot()
    said = repo.luna("evolve", code=2).stderr
    assert f"params.yaml names {first}" in said
    assert "git restore --staged --worktree params.yaml" in said
    assert repo.snapshot() == before
    repo.git("restore", "--staged", "--worktree", "params.yaml")
    said = repo.luna("new").stderr
    assert "lineage.csv: the row of generation 2 is gone" in said
    assert (repo.path / LEDGER).read_text() == sealed_rows(repo)
    assert "Luna-G003" in json.loads((repo.path / BUILD).read_text())["parent"]


def test_a_row_altered_in_a_commit_is_told_and_corrected_on_top(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    was = value(sealed_rows(repo), 1, "eval_tone")
    true = edited(repo, 1, "eval_tone", "0.5")
    repo.commit("altered")  # --no-verify
    new_conversations(repo)
    row = f"generation 1, eval_tone: '{was}' became '0.5'"
    assert row in repo.luna("verify", "--quick", code=1).stdout
    assert row in repo.luna("status").stdout and "luna repair" in repo.json("status")["next"]
    assert "luna repair" in repo.luna("new", code=2).stderr
    tip = repo.git("rev-parse", "HEAD")
    repo.luna("repair")
    assert sealed_rows(repo) == true == (repo.path / LEDGER).read_text()
    assert repo.git("rev-parse", "HEAD^") == tip
    assert row in repo.git("log", "-1", "--format=%B")
    repo.luna("verify", "--quick")
    assert repo.json("status")["next"] == "luna evolve"
    assert repo.git("status", "--porcelain", "--untracked-files=no") == ""
    repo.luna("new")


def test_a_row_altered_by_a_seal_is_corrected_on_top_and_the_line_grows(
    built, tmp_path, monkeypatch
):
    repo = built.copy(tmp_path / "repo")
    edited(repo, 3, "parent", "2")
    own = (repo.path / LEDGER).read_text().splitlines(True)[-1]
    past = sealed_rows(repo)
    repo.dvc("commit", "--force", "promote")
    with monkeypatch.context() as patch:  # as an earlier version sealed it
        patch.setattr(recorded, "require", lambda *given: None)
        seal(repo.path)
    damaged = repo.references()
    said = repo.luna("verify", "--quick", code=1).stdout
    assert "past rows were altered by this seal: generation 3, parent: '1' became '2'" in said
    names = read_line(repo.path, "Luna").ancestors(repo.json("status")["newest"])
    assert [name.split("-")[1] for name in names] == ["G000", "G001", "G003", "G004"]
    new_conversations(repo, "forest")
    assert "luna repair" in repo.luna("new", code=2).stderr

    repo.luna("repair")
    assert sealed_rows(repo) == past + own
    assert "they were corrected later" in repo.luna("verify", "--quick").stdout
    assert "up to date" in repo.dvc("status")
    assert {row["gen"]: row["parent"] for row in repo.json("log")} == {
        0: "base",
        1: 0,
        2: 1,
        3: 1,
        4: 3,
    }
    assert set(damaged.splitlines()) - set(repo.references().splitlines()) == {
        row for row in damaged.splitlines() if row.startswith("refs/heads/main")
    }
    repo.luna("init")
    # An ordinary commit passes the hook, one that alters a row does not.
    (repo.path / "NOTES.md").write_text("mine\n")
    repo.git("add", "NOTES.md")
    repo.git("commit", "-q", "-m", "notes")
    edited(repo, 1, "eval_tone", "0")
    repo.git("add", LEDGER)
    assert "would alter a past row" in repo.run("git", "commit", "-m", "no", code=1).stderr
    repo.git("restore", "--staged", "--worktree", LEDGER)
    repo.luna("new")
    ledger = json.loads((repo.path / BUILD).read_text())["ledger"]
    assert repo.git("cat-file", "blob", ledger) == (past + own).rstrip("\n")


@pytest.mark.parametrize("mend", ["repair", "evolve"])
def test_a_lockfile_cut_short_is_named_and_mended(built, tmp_path, mend):
    repo = built.copy(tmp_path / "repo")
    lock = repo.path / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[:2000])
    assert "dvc.lock: it was cut short" in repo.luna("verify", "--quick", code=1).stdout
    assert "'luna evolve'" in repo.luna("seal", code=2).stderr
    if mend == "repair":
        repo.luna("repair")
        repo.luna("verify", "--quick")
    else:
        done = repo.luna("evolve")
        assert "train: " not in done.stdout, subprocess.list2cmdline(done.args)
