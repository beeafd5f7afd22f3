"""The real 135M model, end to end, as the README says it: two batches, three generations, no bar lowered."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess

import pytest
from conftest import SOURCE, Repo

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Repo:
    folder = tmp_path_factory.mktemp("real")
    repo = Repo(folder / "luna")
    listed = subprocess.run(["git", "-C", str(SOURCE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (SOURCE / name).is_file():
            (repo.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, repo.path / name)
    repo.git("init", "-q", "-b", "main")
    repo.git("config", "user.name", "Tester")
    repo.git("config", "user.email", "tester@example.com")
    repo.commit("Luna")
    repo.dvc("remote", "add", "--local", "--default", "cold", str(repo.cold))
    repo.luna("init")
    env = {"OMP_NUM_THREADS": ""}  # the real model trains with all cores
    print(repo.luna("evolve", env=env).stdout[-3000:])
    shutil.copy(repo.path / "data/examples/02-the-winter-ferry.jsonl", repo.path / "data/conversations")
    print(repo.luna("evolve", env=env).stdout[-3000:])
    return repo


def test_three_generations_and_the_rule_decided(real):
    rows = real.json("log")
    assert [(row["gen"], row["parent"], row["promoted"]) for row in rows] == [(0, "base", True), (1, 0, True), (2, 1, True)]
    assert rows[-1]["head"]
    base, *taught = rows
    assert base["eval_recall"] <= 0.05 and base["eval_generalize"] <= 0.05 and base["eval_tone"] > 0.05  # the untaught control fails
    for row in taught:
        assert row["eval_recall"] >= 0.9 and row["eval_generalize"] >= 0.8 and row["eval_tone"] <= 0.05


def test_the_second_batch_did_not_make_her_forget_the_first(real):
    scores = json.loads((real.path / "models/metrics.json").read_text())["evaluation"]
    assert scores["recall_old"] >= 0.85 and scores["recall_new"] >= 0.85


def test_every_generation_is_there_byte_for_byte(real):
    for row in real.json("log"):
        real.git("checkout", "-q", row["name"])
        assert hashlib.sha256((real.path / "models/model.gguf").read_bytes()).hexdigest() == row["weights_sha256"]
        assert "up to date" in real.dvc("status")
    real.git("switch", "-q", "main")


def test_no_stage_takes_more_than_four_gigabytes(real):
    assert json.loads((real.path / "models/train_args.json").read_text())["peak_memory_bytes"] < 4e9
