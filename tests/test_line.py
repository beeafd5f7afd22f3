"""The whole line with real git, DVC, unsloth, llama.cpp and a tiny model: build, deny, seal, roll back, restore."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from conftest import Repo, facts, write_jsonl

ARTIFACTS = (
    "model.gguf",
    "tokenizer.json",
    "config.json",
    "train_args.json",
    "data_delta.sha256",
    "parent_gen.txt",
    "metrics.json",
    "EVAL.md",
    "MODEL_CARD.md",
    "hashes.csv",
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def mine(line, tmp_path) -> Repo:
    return line.copy(tmp_path / "mine")


def test_log_shows_denial_and_parentage(line):
    rows = line.json("log")
    assert [(row["gen"], row["parent"], row["promoted"], row["head"]) for row in rows] == [
        (0, "base", True, False),
        (1, 0, True, False),
        (2, 1, False, False),
        (3, 1, True, True),
    ]
    assert rows[0]["weight_change"] == 100.0
    assert "denied" in line.luna("log").stdout and "G003" in line.luna("log", "--graph").stdout


def test_every_tag_is_annotated_and_says_what_it_seals(line):
    for row in line.json("log"):
        assert line.git("cat-file", "-t", row["name"]) == "tag"
        message = line.git("tag", "-l", "--format=%(contents)", row["name"])
        assert f"Weights-SHA256: {row['weights_sha256']}" in message
        assert f"Verdict: {'promoted' if row['promoted'] else 'denied'}" in message
        ledger = line.run("git", "show", f"{row['name']}:lineage.csv").stdout
        assert f"Ledger-SHA256: {hashlib.sha256(ledger.encode()).hexdigest()}" in message


def test_ledger_is_appended_and_never_changed(line):
    texts = [
        line.run("git", "show", f"{row['name']}:lineage.csv").stdout for row in line.json("log")
    ]
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:], strict=False))


def test_each_tag_checks_out_whole_clean_and_done(mine):
    for row in mine.json("log"):
        mine.git("checkout", "-q", row["name"])
        assert all((mine.path / "models" / name).is_file() for name in ARTIFACTS)
        assert sha256(mine.path / "models/model.gguf") == row["weights_sha256"]
        assert "up to date" in mine.dvc("status")
        assert "Running stage" not in mine.dvc("repro")
        assert mine.git("status", "--porcelain") == ""
        mine.run("sha256sum", "--check", "--quiet", "models/data_delta.sha256")
        mine.run("sha256sum", "--check", "--quiet", "models/weights.sha256")
    mine.git("switch", "-q", "main")
    assert "up to date" in mine.dvc("status")


def test_artifact_says_who_it_is(line):
    from luna.answering.engine import Engine

    name = json.loads((line.path / "models/metrics.json").read_text())["generation"]["name"]
    with Engine(line.path / "models/model.gguf", parallel=1) as engine:
        assert engine.metadata("general.name") == engine.metadata("luna.generation") == name
        assert engine.metadata("luna.parent").startswith("Luna-G001-")
        assert len(engine.metadata("luna.base_sha256")) == 64
        assert engine.metadata("luna.data_delta_sha256") == sha256(
            line.path / "models/data_delta.jsonl"
        )


def test_denied_data_is_learnt_by_the_next(line):
    taught = (line.path / "models/taught.csv").read_text().splitlines()[1:]
    assert {row.split(",")[1] for row in taught} == {"1", "3"}
    prep = json.loads((line.path / "models/prep.json").read_text())
    assert (prep["new_conversations"], prep["replay_by_generation"]) == (6, {"1": 12})


def test_train_args_hold_the_documented_fields(line):
    arguments = json.loads((line.path / "models/train_args.json").read_text())
    assert {
        "parent_generation",
        "training_steps",
        "learning_rate",
        "batch_size",
        "gradient_accumulation",
        "max_seq_length",
        "new_conversations",
        "replay_samples",
        "walltime_minutes",
        "device",
        "peak_memory_bytes",
    } <= set(arguments)
    assert {"torch", "unsloth", "transformers"} <= set(arguments["versions"])
    assert arguments["training_steps"] == 4


def test_nothing_sealed_names_this_machine(line):
    for name in line.git(
        "ls-tree", "-r", "--name-only", "HEAD", "models", "lineage.csv"
    ).splitlines():
        assert str(line.path.parent) not in line.run("git", "show", f"HEAD:{name}").stdout, name
    assert str(line.path) not in (line.path / "models/adapter/adapter_config.json").read_text()


def test_dvc_and_gto_see_the_line(line, tmp_path):
    tags = [row["name"] for row in line.json("log")]
    assert tags[1] in (shown := line.dvc("metrics", "show", "--all-tags")) and "recall" in shown
    assert "recall" in line.dvc("metrics", "diff", "--all", tags[1], tags[3])
    line.dvc("plots", "show", "-o", str(tmp_path / "plots"))
    assert "loss" in (tmp_path / "plots/index.html").read_text()
    shown = line.run("gto", "show", "luna").stdout
    assert "v3.0.0" in shown and "head" in shown
    line.run(
        "dvc",
        "artifacts",
        "get",
        str(line.path),
        "luna",
        "--stage",
        "head",
        "-o",
        str(tmp_path / "head.gguf"),
    )
    assert sha256(tmp_path / "head.gguf") == line.json("log")[3]["weights_sha256"]


def test_rollback_moves_the_head_with_a_reason_and_grows_from_there(mine):
    before = mine.references().splitlines()
    mine.luna("rollback", "1", "--reason", "answers were dull")
    assert mine.json("status")["head"].startswith("Luna-G001-")
    assert sha256(mine.path / "models/model.gguf") == mine.json("log")[1]["weights_sha256"]
    history = mine.json("log", "--head")
    assert [move["generation"][:9] for move in history] == [
        "Luna-G000",
        "Luna-G001",
        "Luna-G003",
        "Luna-G001",
    ]
    assert history[-1]["why"] == "Rollback to G001: answers were dull" and history[-1][
        "who"
    ].startswith("Tester")
    kept = mine.references().splitlines()
    assert all(
        row in kept for row in before if "GHEAD" not in row and "refs/luna/" not in row
    )  # head and record move on, the rest never
    assert "luna#head#4" in "".join(kept)
    # Off the tip nothing can be started; at the tip the parent is the head, not the newest.
    assert "git switch main" in mine.luna("new", code=2).stderr
    mine.git("switch", "-q", "main")
    assert mine.json("new")["parent"].startswith("Luna-G001-")
    assert mine.json("status")["pending"]["conversations"] == 6


def test_rollback_refuses_what_it_should(mine):
    before = mine.snapshot()
    assert "denied" in mine.luna("rollback", "2", "--reason", "x", code=2).stderr
    assert "reason" in mine.luna("rollback", "1", "--reason", " ", code=2).stderr
    assert "needs a reason" in mine.luna("rollback", "1", code=2).stderr
    assert "no generation '77'" in mine.luna("rollback", "77", code=2).stderr
    assert "already" in mine.luna("rollback", "HEAD", "--reason", "x", code=2).stderr
    assert "no generation '77'" in mine.luna("rollback", "77", "--reason", "x", code=2).stderr
    assert mine.snapshot() == before
    (mine.path / "params.yaml").write_text((mine.path / "params.yaml").read_text() + "# mine\n")
    assert "params.yaml" in mine.luna("rollback", "1", "--reason", "x", code=2).stderr


def test_sealing_again_changes_nothing(mine):
    before = mine.snapshot()
    assert "was sealed before" in mine.luna("seal").stdout
    assert mine.snapshot() == before


def test_nothing_new_to_learn(mine):
    before = mine.snapshot()
    assert "nothing new to learn" in mine.luna("evolve", code=2).stderr
    assert mine.snapshot() == before


def test_fresh_clone_brings_any_generation_back(line, tmp_path):
    clone = Repo(tmp_path / "luna")
    line.run("git", "clone", "-q", str(line.path), str(clone.path))
    clone.dvc("remote", "add", "--local", "--default", "cold", str(line.cold))
    clone.luna("init")
    for row in clone.json("log"):
        clone.luna("restore", str(row["gen"]))
        clone.git("checkout", "-q", row["name"])
        assert sha256(clone.path / "models/model.gguf") == row["weights_sha256"]
        assert "up to date" in clone.dvc("status")


def test_plain_dvc_pull_at_an_old_tag_gives_the_same_bytes(line, tmp_path):
    clone = Repo(tmp_path / "luna")
    line.run("git", "clone", "-q", str(line.path), str(clone.path))
    clone.dvc("remote", "add", "--local", "--default", "cold", str(line.cold))
    row = line.json("log")[1]
    clone.git("checkout", "-q", row["name"])
    clone.dvc("pull", "-q")
    assert sha256(clone.path / "models/model.gguf") == row["weights_sha256"]


def test_a_git_remote_gets_everything_and_a_clone_follows_the_head(mine, tmp_path):
    bare = tmp_path / "origin.git"
    mine.push_to(bare)
    assert "pushed to origin" in mine.luna("seal").stdout
    other = Repo(tmp_path / "other")
    mine.run("git", "clone", "-q", str(bare), str(other.path))
    other.dvc("remote", "add", "--local", "--default", "cold", str(mine.cold))
    other.luna("init")
    assert other.json("status")["head"].startswith("Luna-G003-")
    mine.luna("rollback", "1", "--reason", "shared")
    other.git("fetch", "-q", "origin")
    assert other.json("status")["head"].startswith("Luna-G001-")
    # A generation changed on the remote does not reach the clone.
    name = mine.json("log")[0]["name"]
    mine.git("push", "-q", "--no-verify", "origin", f"+main:refs/tags/{name}")
    sealed = other.git("rev-parse", name)
    other.git("fetch", "-q", "origin", code=1)
    assert other.git("rev-parse", name) == sealed


def test_cold_storage_survives_the_clone_and_damage_is_noticed(mine):
    row = mine.json("log")[1]
    md5 = hashlib.md5((mine.path / "models/model.gguf").read_bytes()).hexdigest()
    shutil.rmtree(mine.path / ".dvc/cache")
    stored = mine.cold / "files/md5" / md5[:2] / md5[2:]
    good = stored.read_bytes()
    stored.chmod(0o644)
    stored.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert "wrong bytes" in mine.luna("restore", "3", code=2).stderr
    assert stored.exists()
    stored.write_bytes(good)
    mine.luna("restore", "3")
    mine.luna("restore", str(row["gen"]))


def test_seal_refuses_an_unfinished_pipeline_and_a_dead_store(mine):
    write_jsonl(mine.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    mine.luna("new")
    before = mine.references()
    assert "dvc repro" in mine.luna("seal", code=2).stderr
    assert mine.references() == before
    mine.dvc("repro")
    mine.cold.rename(mine.cold.with_name("gone"))
    mine.cold.write_text("no folder")
    assert "cold storage" in mine.luna("seal", code=2).stderr
    assert mine.references() == before
    mine.cold.unlink()
    mine.cold.with_name("gone").rename(mine.cold)
    mine.luna("evolve")  # goes on: nothing is trained again
    assert mine.json("log")[-1]["gen"] == 4


def test_status_says_what_stopped_the_build(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    added = repo.path / "data/conversations/third.jsonl"
    write_jsonl(added, facts("valley", range(2)))
    repo.luna("new")
    assert repo.json("status")["failure"] is None
    added.unlink()
    assert "are not in data/conversations any more" in repo.luna("evolve", code=2).stderr
    failure = repo.json("status")["failure"]
    assert failure.startswith("prep: 2 of the 2 conversations") and "luna new --replace" in failure
    assert f"stopped:              {failure}" in repo.luna("status").stdout
    repo.luna("new", "--replace", code=None)
    write_jsonl(added, facts("valley", range(3)))
    repo.luna("new", "--replace", code=None)
    repo.dvc("repro", "prep")
    assert repo.json("status")["failure"] is None
