"""The real 135M model, end to end, as the README says it: base and first taught generation, judged by the shipped rule."""

from __future__ import annotations

import hashlib
import json

import pytest
from conftest import SOURCE, Repo, copy_project

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Repo:
    repo = copy_project(tmp_path_factory.mktemp("real"))
    for path in sorted((SOURCE / "data/conversations").glob("*.jsonl")):
        (repo.path / "data/conversations").mkdir(parents=True, exist_ok=True)
        (repo.path / "data/conversations" / path.name).write_bytes(path.read_bytes())
    repo.begin()
    done = repo.luna("evolve", code=None, env={"OMP_NUM_THREADS": "2"})
    assert done.returncode in (0, 1), done.stderr[-3000:]
    print(done.stdout[-2000:])
    return repo


def test_the_untaught_base_fails_and_the_taught_one_knows(real):
    base, taught = real.json("log")
    assert base["eval_recall"] <= 0.05 and base["eval_generalize"] <= 0.05 and base["eval_tone"] > 0.05
    assert taught["eval_recall"] >= 0.9 and taught["eval_generalize"] >= 0.7 and taught["eval_tone"] <= 0.05


def test_the_rule_decided_and_the_head_follows_it(real):
    base, taught = real.json("log")
    passes = taught["eval_recall"] >= 0.9 and taught["eval_generalize"] >= 0.8 and taught["eval_tone"] <= 0.05
    assert base["promoted"] and taught["promoted"] is passes
    assert taught["head"] is passes and base["head"] is not passes


def test_every_generation_is_there_byte_for_byte(real):
    for row in real.json("log"):
        real.git("checkout", "-q", row["name"])
        assert hashlib.sha256((real.path / "models/model.gguf").read_bytes()).hexdigest() == row["weights_sha256"]
        assert "up to date" in real.dvc("status")
    real.git("switch", "-q", "main")


def test_training_takes_less_than_four_gigabytes(real):
    assert json.loads((real.path / "models/train_args.json").read_text())["peak_memory_bytes"] < 4e9
