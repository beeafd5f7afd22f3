"""Trained on one machine, exported, judged and sealed on another, through cold storage and git alone."""

from __future__ import annotations

import hashlib
import json

from conftest import Repo, facts, write_jsonl


def test_a_generation_is_trained_on_one_machine_and_finished_on_another(line, tmp_path):
    home = line.copy(tmp_path / "home")
    bare = tmp_path / "origin.git"
    home.push_to(bare)
    home.luna("seal")
    gpu = Repo(tmp_path / "gpu")
    home.run("git", "clone", "-q", str(bare), str(gpu.path))
    for key, value in (
        ("user.name", "Trainer"),
        ("user.email", "trainer@example.com"),
        ("luna.pushRemote", "origin"),
    ):
        gpu.git("config", key, value)
    gpu.dvc("remote", "add", "--local", "--default", "cold", str(home.cold))
    gpu.luna("init")
    tags = home.git("for-each-ref", "refs/tags")

    assert "no stage 'nap'" in gpu.luna("evolve", "--stage", "nap", code=2).stderr
    assert "without --max" in gpu.luna("evolve", "--stage", "train", "--max", "2", code=2).stderr
    write_jsonl(gpu.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    before = {path.name for path in (home.cold / "files").rglob("*")}
    trained = gpu.luna("evolve", "--stage", "train", "--json")
    assert (
        "bringing models/base" in trained.stderr and "Running stage 'base'" not in trained.stderr
    )  # the ancestor comes from cold storage, not from its origin
    events = [json.loads(row) for row in trained.stdout.splitlines()]
    told = events[-1]
    assert (
        [event["event"] for event in events if event["event"] != "stage"]
        == ["started", "handed over"]
        and told["stage"] == "train"
        and told["pushed_to"] == "origin"
    )
    assert told["name"].startswith("Luna-G004") and 0 < told["uploaded"] == len(
        {path.name for path in (home.cold / "files").rglob("*") if path.is_file()} - before
    )
    assert (
        gpu.git("status", "--porcelain") == ""
        and gpu.git("rev-parse", "HEAD")
        == told["commit"]
        == gpu.git("ls-remote", "origin", "main").split()[0]
    )
    adapter = hashlib.sha256(
        (gpu.path / "models/adapter/adapter_model.safetensors").read_bytes()
    ).hexdigest()
    gpu.git(
        "update-ref", "refs/heads/main", "main^"
    )  # as a kill leaves it that came when the remote had just taken it
    again = gpu.luna("evolve", "--stage", "train")
    assert (
        "0 objects went into cold storage" in again.stdout
        and "Running stage" not in again.stdout
        and gpu.git("rev-parse", "HEAD") == told["commit"]
    )

    home.git("pull", "-q", "--ff-only", "origin", "main")
    shown = home.json("status")
    assert (
        shown["building"] == told["name"]
        and shown["next"] == "luna evolve"
        and shown["newest"].startswith("Luna-G003")
    )
    home.luna("verify", "--quick")
    assert "dvc repro" in home.luna("seal", code=2).stderr
    done = home.luna("evolve")
    assert "bringing" in done.stderr and "models/adapter" in done.stderr
    assert [
        stage
        for stage in ("base", "prep", "keyframe", "train", "export", "evaluate", "promote")
        if f"Running stage '{stage}'" in done.stdout
    ] == ["export", "evaluate", "promote"]
    assert (
        hashlib.sha256(
            (home.path / "models/adapter/adapter_model.safetensors").read_bytes()
        ).hexdigest()
        == adapter
    )
    assert (
        home.json("status")["head"] == told["name"]
        and home.git("status", "--porcelain") == ""
        and "up to date" in home.dvc("status")
    )
    assert home.git("log", "-2", "--format=%s").splitlines() == [
        f"{told['name']}: promoted",
        f"{told['name']}: unfinished, built up to train",
    ]
    home.luna("verify", "--remote")
    assert all(
        row in home.git("for-each-ref", "refs/tags").splitlines()
        for row in tags.splitlines()
        if "GHEAD" not in row
    )

    gpu.git("pull", "-q", "--ff-only", "origin", "main")
    gpu.git("fetch", "-q", "origin")
    assert gpu.json("status")["head"] == told["name"] and gpu.json("status")["building"] is None
    assert "nothing new to learn" in gpu.luna("evolve", "--stage", "train", code=2).stderr
