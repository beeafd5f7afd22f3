"""The real 135M model, end to end, as the README says it: the base and two taught generations, judged by the shipped rule."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from conftest import SOURCE, Repo, copy_project

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Repo:
    repo = copy_project(tmp_path_factory.mktemp("real"))
    shutil.copytree(SOURCE / "data/conversations", repo.path / "data/conversations", dirs_exist_ok=True)
    repo.begin()
    threads = {"OMP_NUM_THREADS": "2"}
    print(repo.luna("evolve", env=threads).stdout[-2000:])
    shutil.copy(SOURCE / "data/examples/02-the-winter-ferry.jsonl", repo.path / "data/conversations")
    print(repo.luna("evolve", env=threads).stdout[-2000:])
    return repo


def test_the_untaught_base_fails_every_clause(real):
    base = real.json("log")[0]
    assert base["eval_recall"] <= 0.05 and base["eval_generalize"] <= 0.05 and base["eval_tone"] > 0.05


def test_both_taught_generations_pass_the_shipped_rule_and_move_the_head(real):
    rows = real.json("log")
    assert [(row["gen"], row["parent"], row["promoted"], row["head"]) for row in rows] == [(0, "base", True, False), (1, 0, True, False), (2, 1, True, True)]
    for row in rows[1:]:
        assert row["eval_recall"] >= 0.9 and row["eval_generalize"] >= 0.8 and row["eval_tone"] <= 0.05


def test_the_second_still_knows_what_the_first_was_taught(real):
    metrics = json.loads((real.path / "models/metrics.json").read_text())
    assert metrics["evaluation"]["recall_old"] >= 0.85 and metrics["evaluation"]["recall_new"] >= 0.85, metrics["evaluation"]


def test_every_generation_is_there_byte_for_byte(real):
    for row in real.json("log"):
        real.git("checkout", "-q", row["name"])
        assert hashlib.sha256((real.path / "models/model.gguf").read_bytes()).hexdigest() == row["weights_sha256"]
        assert "up to date" in real.dvc("status")
    real.git("switch", "-q", "main")


def test_training_takes_less_than_four_gigabytes(real):
    assert json.loads((real.path / "models/train_args.json").read_text())["peak_memory_bytes"] < 4e9
