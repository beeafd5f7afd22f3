"""Trained on one machine, exported, judged and sealed on another, through cold storage and git alone.

It is done once: each fixture is one step of it and writes down what could be seen then; the tests look at that.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import pytest
from conftest import Repo, facts, write_jsonl

STAGES = ("base", "prep", "keyframe", "train", "export", "evaluate", "promote")


def adapter_of(repo: Repo) -> str:
    path = repo.path / "models/adapter/adapter_model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_store(home: Repo) -> set[str]:
    return {path.name for path in (home.cold / "files").rglob("*") if path.is_file()}


def stages_run(text: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in text]


@dataclass(frozen=True)
class Machines:
    """``home`` and its clone ``gpu``, with one git remote and one cold storage; ``tags`` of before."""

    home: Repo
    gpu: Repo
    tags: list[str]


@pytest.fixture(scope="module")
def machines(line, module_folder) -> Machines:
    home, gpu = line.copy(module_folder / "home"), Repo(module_folder / "gpu")
    bare = module_folder / "origin.git"
    home.push_to(bare)
    home.luna("seal")
    home.run("git", "clone", "-q", str(bare), str(gpu.path))
    for key, value in (
        ("user.name", "Trainer"),
        ("user.email", "trainer@example.com"),
        ("luna.pushRemote", "origin"),
    ):
        gpu.git("config", key, value)
    gpu.dvc("remote", "add", "--local", "--default", "cold", str(home.cold))
    gpu.luna("init")
    return Machines(home, gpu, home.git("for-each-ref", "refs/tags").splitlines())


@dataclass(frozen=True)
class Trained:
    """The training on the machine with the GPU: what the command wrote, and what it left there."""

    progress: str
    events: list[dict]
    new_objects: int
    changed: str
    commit: str
    pushed: str
    adapter: str

    @property
    def name(self) -> str:
        return self.events[-1]["name"]


@pytest.fixture(scope="module")
def trained(machines) -> Trained:
    gpu = machines.gpu
    write_jsonl(gpu.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    before = in_store(machines.home)
    done = gpu.luna("evolve", "--stage", "train", "--json")
    return Trained(
        done.stderr,
        [json.loads(row) for row in done.stdout.splitlines()],
        len(in_store(machines.home) - before),
        gpu.git("status", "--porcelain"),
        gpu.git("rev-parse", "HEAD"),
        gpu.git("ls-remote", "origin", "main").split()[0],
        adapter_of(gpu),
    )


@pytest.fixture(scope="module")
def repeated(machines, trained) -> tuple[str, str]:
    """The same command after a kill that came when the remote had just taken the commit: its words, and the commit."""
    gpu = machines.gpu
    gpu.git("update-ref", "refs/heads/main", "main^")
    return gpu.luna("evolve", "--stage", "train").stdout, gpu.git("rev-parse", "HEAD")


@dataclass(frozen=True)
class Finished:
    """At home: what is seen after the pull, and what 'luna evolve' then does."""

    pulled: dict
    early_seal: str
    progress: str
    stages: list[str]
    adapter: str
    head: str
    changed: str
    dvc: str
    subjects: list[str]
    tags: list[str]


@pytest.fixture(scope="module")
def finished(machines, repeated) -> Finished:
    home = machines.home
    home.git("pull", "-q", "--ff-only", "origin", "main")
    pulled = home.json("status")
    home.luna("verify", "--quick")
    early_seal = home.luna("seal", code=2).stderr
    done = home.luna("evolve")
    return Finished(
        pulled,
        early_seal,
        done.stderr,
        stages_run(done.stdout),
        adapter_of(home),
        home.json("status")["head"],
        home.git("status", "--porcelain"),
        home.dvc("status"),
        home.git("log", "-2", "--format=%s").splitlines(),
        home.git("for-each-ref", "refs/tags").splitlines(),
    )


def test_a_stage_that_does_not_exist_is_refused(machines):
    refused = machines.gpu.luna("evolve", "--stage", "nap", code=2)
    assert "no stage 'nap'" in refused.stderr


def test_a_handover_is_of_one_generation(machines):
    refused = machines.gpu.luna("evolve", "--stage", "train", "--max", "2", code=2)
    assert "without --max" in refused.stderr


def test_the_ancestor_comes_from_cold_storage_and_not_from_its_origin(trained):
    assert "bringing models/base" in trained.progress
    assert "Running stage 'base'" not in trained.progress


def test_training_alone_ends_with_a_handover_that_is_pushed(trained):
    last = trained.events[-1]
    assert [event["event"] for event in trained.events if event["event"] != "stage"] == [
        "started",
        "handed over",
    ]
    assert (last["stage"], last["pushed_to"]) == ("train", "origin")
    assert last["name"].startswith("Luna-G004")
    assert trained.commit == last["commit"] == trained.pushed


def test_what_was_trained_is_in_cold_storage_and_counted(trained):
    assert 0 < trained.events[-1]["uploaded"] == trained.new_objects


def test_a_handover_leaves_the_workspace_clean(trained):
    assert trained.changed == ""


def test_killed_when_the_remote_had_just_taken_it_the_command_finishes_without_training(
    trained, repeated
):
    shown, commit = repeated
    assert "0 objects went into cold storage" in shown
    assert "Running stage" not in shown
    assert commit == trained.commit


def test_at_home_the_pulled_generation_is_being_built(trained, finished):
    assert finished.pulled["building"] == trained.name
    assert finished.pulled["next"] == "luna evolve"
    assert finished.pulled["newest"].startswith("Luna-G003")


def test_an_unfinished_generation_is_not_sealed(finished):
    assert "dvc repro" in finished.early_seal


def test_at_home_only_the_stages_after_the_training_run(finished):
    assert "bringing" in finished.progress
    assert "models/adapter" in finished.progress
    assert finished.stages == ["export", "evaluate", "promote"]


def test_the_adapter_is_the_one_that_was_trained_there(trained, finished):
    assert finished.adapter == trained.adapter


def test_it_is_sealed_at_home_as_any_other(machines, trained, finished):
    assert finished.head == trained.name
    assert finished.changed == ""
    assert "up to date" in finished.dvc
    assert finished.subjects == [
        f"{trained.name}: promoted",
        f"{trained.name}: unfinished, built up to train",
    ]
    machines.home.luna("verify", "--remote")


def test_no_tag_of_before_is_changed(machines, finished):
    assert {row for row in machines.tags if "GHEAD" not in row} <= set(finished.tags)


def test_the_machine_with_the_gpu_sees_the_seal_and_has_nothing_new_to_learn(
    machines, trained, finished
):
    gpu = machines.gpu
    gpu.git("pull", "-q", "--ff-only", "origin", "main")
    gpu.git("fetch", "-q", "origin")
    status = gpu.json("status")
    assert status["head"] == trained.name
    assert status["building"] is None
    assert "nothing new to learn" in gpu.luna("evolve", "--stage", "train", code=2).stderr
