"""luna gc: frees the cache only of what cold storage has just given back, and all of it comes back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess

import pytest
from conftest import Repo

from luna.repo import interrupted
from tests.faults import kills


@pytest.fixture
def mine(line, tmp_path) -> Repo:
    return line.copy(tmp_path / "mine")


def cached(repo: Repo) -> set[str]:
    return {
        path.parent.name + path.name
        for path in (repo.path / ".dvc/cache/files").rglob("*")
        if path.is_file()
    }


def stored(repo: Repo) -> dict[str, bytes]:
    return {
        path.parent.name + path.name: path.read_bytes()
        for path in (repo.cold / "files").rglob("*")
        if path.is_file()
    }


def test_it_frees_the_past_and_everything_comes_back(mine):
    before, cold = cached(mine), stored(mine)
    assert "--dry-run" in mine.luna("gc", code=2).stderr
    planned = mine.json("gc", "--dry-run")
    assert (
        cached(mine) == before
        and planned["freed"] is None
        and planned["would_go"]["bytes"] > 10_000_000
    )
    done = mine.json("gc", "--yes")
    assert done["freed"]["bytes"] == planned["would_go"]["bytes"] and done["freed"]["refused"] == []
    gone = before - cached(mine)
    assert (
        len(gone) == planned["would_go"]["objects"] and gone <= set(cold) and stored(mine) == cold
    )
    assert "up to date" in mine.dvc("status") and "Running stage" not in mine.dvc(
        "repro"
    )  # what is checked out is whole
    mine.luna("restore", "HEAD")
    assert mine.json("gc", "--yes")["freed"]["objects"] == 0
    rows = mine.json("log")
    mine.luna("restore", "1")
    mine.git("checkout", "-q", rows[1]["name"])
    assert (
        hashlib.sha256((mine.path / "models/model.gguf").read_bytes()).hexdigest()
        == rows[1]["weights_sha256"]
    )
    mine.git("checkout", "-q", rows[2]["name"], code=None)  # DVC's hook says what is missing
    mine.dvc("pull", "-q")
    assert (
        hashlib.sha256((mine.path / "models/model.gguf").read_bytes()).hexdigest()
        == rows[2]["weights_sha256"]
    )


def test_what_cold_storage_does_not_give_back_stays(mine):
    planned = mine.json("gc", "--dry-run")["would_go"]
    victims = [
        path
        for path in (mine.cold / "files").rglob("*")
        if path.is_file() and path.stat().st_size > 4_000_000
    ]
    for path in victims:
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.seek(1000)
            file.write(b"damage")
    before = cached(mine)
    done = mine.luna("gc", "--yes", code=1)
    assert "returns other bytes" in done.stderr
    stayed = {path.parent.name + path.name for path in victims}
    assert stayed <= cached(mine) and len(before - cached(mine)) < planned["objects"]
    shutil.rmtree(mine.cold)
    before = cached(mine)
    mine.luna("gc", "--yes", code=1)
    assert cached(mine) == before


def test_killed_anywhere_the_same_command_goes_on(line, tmp_path):
    """A small run of 'python -m bench.kills', in two parts."""
    repo, log = line.copy(tmp_path / "kills" / "line"), tmp_path / "log"
    only = {"rollback", "archive", "repair", "gc", "bundle", "restore", "snapshot"}
    kills.kills(repo.path, 4, 11, only, log=log, states=tmp_path / "states")
    result = kills.kills(repo.path, 7, 11, only, log=log, states=tmp_path / "states")
    assert (
        result.faults == []
        and [kill.number for kill in result.done] == list(range(7))
        and {kill.command for kill in result.done} == only
    )
    assert result.kills.total() >= 2 and len(log.read_text().splitlines()) == 7


def test_a_lock_that_a_killed_git_left_is_cleared(mine):
    """Only after a killed command of ours, and only what is younger than it."""
    (mine.path / ".luna").mkdir(exist_ok=True)
    left = mine.path / ".git/index.lock"
    left.touch()
    assert mine.luna("rollback", "1", "--reason", "x", code=2).stderr and left.exists()
    holder = mine.path / ".luna/command.holder"
    holder.write_text("'luna seal' (process 0)")
    left.touch()
    mine.luna("rollback", "1", "--reason", "x")
    assert not left.exists() and not holder.exists()


def test_a_list_of_dvc_that_the_dead_left_is_cleared(tmp_path):
    """A killed process that nobody waited for, another with its number since, a list cut short; but not one that works."""
    place = tmp_path / ".dvc/tmp/rwlock"
    place.parent.mkdir(parents=True)
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    listed = {
        "write": {"models/gguf": {"pid": dead.pid, "cmd": "dvc repro"}},
        "read": {"params.yaml": [{"pid": os.getpid(), "cmd": "dvc repro"}]},
    }
    place.write_text(json.dumps(listed))
    interrupted.clear_dvc(tmp_path)
    assert place.exists()
    os.utime(place, (0, 0))  # written before this process began
    interrupted.clear_dvc(tmp_path)
    assert not place.exists()
    assert dead.wait() == 0
    place.write_text(json.dumps(listed)[:-9])
    interrupted.clear_dvc(tmp_path)
    assert not place.exists()
    interrupted.clear_dvc(tmp_path)
