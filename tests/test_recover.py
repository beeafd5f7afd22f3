"""Cold storage alone brings everything back: git's objects go into it with every seal, and 'luna recover' makes a clone of them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BIN, Repo
from filelock import FileLock

from luna.history import backup
from luna.repo.git import Git
from luna.storage import cold, packs


@pytest.fixture(scope="module")
def sealed(built, module_folder) -> Repo:
    """The line with G004 sealed by 'luna seal', a snapshot, and a commit beside it. Copy it before changing it."""
    repo = built.copy(module_folder / "repo")
    repo.luna("seal")
    notes = repo.path.parent / "notes"
    notes.mkdir()
    (notes / "one.txt").write_text("kept\n")
    repo.luna("snapshot", str(notes), "--tag", "notes", "-m", "what I noted")
    repo.git("tag", "paper", f"{repo.json('log')[1]['name']}^{{commit}}")
    repo.luna("rollback", "G001", "--reason", "dull", "--stay")
    return repo


@pytest.fixture
def mine(sealed, tmp_path) -> Repo:
    return sealed.copy(tmp_path / "mine")


def bundles(repo: Repo) -> list[Path]:
    return sorted((repo.cold / packs.FOLDER).iterdir())


def recover(source: Path | str, to: Path, *more: str, code: int = 0, env: dict | None = None):
    to.parent.mkdir(exist_ok=True)
    there = Repo(to.parent)
    return there.luna("recover", str(source), str(to), *more, code=code, env=env)


def test_the_clone_and_its_cache_deleted_all_comes_back(mine, tmp_path):
    """On a machine that never saw the line: another home folder, nothing but the store."""
    before, ledger = mine.references(), (mine.path / "lineage.csv").read_bytes()
    models = {
        path.name: path.read_bytes() for path in (mine.path / "models").iterdir() if path.is_file()
    }
    shutil.rmtree(mine.path)
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    recover(mine.cold, mine.path, env=env)
    assert mine.references() == before and mine.git("branch", "--show-current") == "main"
    assert (mine.path / "lineage.csv").read_bytes() == ledger
    assert models == {
        path.name: path.read_bytes() for path in (mine.path / "models").iterdir() if path.is_file()
    }
    assert mine.git("status", "--porcelain") == "" and "up to date" in mine.dvc("status")
    report = mine.json("verify", "--all", "--remote")
    assert report["clean"] and len(report["generations"]) == 5 and report["snapshots"]
    assert not (mine.path / ".luna-recover").exists()
    # It is a clone like any other: hooks, an older generation, a move of the head.
    mine.git("config", "user.name", "Tester")
    mine.git("config", "user.email", "tester@example.com")
    assert mine.run("git", "tag", "-d", "luna@v0.0.0", code=None).returncode
    mine.luna("rollback", "G003", "--reason", "better")
    assert "up to date" in mine.dvc("status")
    mine.git("switch", "-q", "main")
    mine.luna("new")


def test_each_change_of_history_adds_one_small_bundle(mine):
    names = bundles(mine)
    assert all(path.stat().st_size < 4096 for path in names[-2:])  # a snapshot, a rollback
    mine.luna("rollback", "G003", "--reason", "better", "--stay")
    assert bundles(mine)[:-1] == names
    store = cold.open_store(mine.path)
    assert packs.put(store, Git(mine.path), backup.references(Git(mine.path), "Luna")) is None
    for path in bundles(mine):  # git itself reads them
        mine.git("bundle", "verify", str(path))


def test_a_store_that_was_away_is_caught_up_with(mine):
    second = str(mine.path.parent / "second")
    mine.luna("cold", second, "--name", "second")
    mine.edit_params(("remotes: []", "remotes: [cold, second]"))
    mine.luna("rollback", "G003", "--reason", "better", "--stay")
    store = cold.open_store(mine.path, "second")
    assert packs.held(store, mine.path) >= backup.references(Git(mine.path), "Luna").items()


def test_two_clones_write_into_one_store(mine, tmp_path):
    """Neither has what the other wrote; what both wrote comes back."""
    other = Repo(tmp_path / "other")
    mine.run("git", "clone", "-q", str(mine.path), str(other.path))
    for repo, name in ((other, "theirs"), (mine, "ours")):
        repo.git("config", "user.name", "Tester")
        repo.git("config", "user.email", "tester@example.com")
        repo.run("dvc", "remote", "add", "--local", "--force", "cold", str(mine.cold))
        repo.run("dvc", "remote", "default", "--local", "cold")
        repo.git("commit", "-q", "--no-verify", "--allow-empty", "-m", name)
        store = cold.open_store(repo.path)
        assert packs.put(store, Git(repo.path), backup.references(Git(repo.path), "Luna"))
    recover(mine.cold, tmp_path / "again")
    again = Repo(tmp_path / "again")
    said = again.git("log", "--all", "--format=%s")
    assert "theirs" in said and "ours" in said
    assert again.git("branch", "--show-current") == "main"
    assert again.json("verify")["clean"]


def test_a_seal_that_was_killed_after_cold_storage_took_it_comes_back(built, tmp_path):
    """The store has the record's entries and the commit; neither branch nor record of git reached it."""
    mine = built.copy(tmp_path / "mine")
    mine.luna("seal")
    store = cold.open_store(mine.path)
    offered = [
        name
        for name, header in packs.headers(store, mine.path).items()
        if any(ref.startswith("refs/luna/offered/") for ref, _ in header.tips)
    ]
    for path in bundles(mine):
        if path.name > max(offered):
            path.unlink()
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    recover(mine.cold, tmp_path / "again", env=home)
    again = Repo(tmp_path / "again")
    rows = [row for row in mine.references().splitlines() if "refs/luna/record" not in row]
    again.luna("verify", "--all", "--remote", code=1)  # the store lacks the tag yet
    there = again.references().splitlines()
    assert [row for row in there if "GHEAD" not in row and "record" not in row] == [
        row for row in rows if "GHEAD" not in row
    ]
    assert again.git("show", "refs/luna/record:record.jsonl") == mine.git(
        "show", "refs/luna/record:record.jsonl"
    )


def test_damage_is_found_and_mended(mine, tmp_path):
    """A flipped byte, and a store that lost all of them."""
    for damage in ("flip", "all"):
        first = max(bundles(mine), key=lambda path: path.stat().st_size)
        first.chmod(0o644)
        if damage == "flip":
            content = bytearray(first.read_bytes())
            content[len(content) // 2] ^= 1
            first.write_bytes(content)
        else:
            shutil.rmtree(mine.cold / packs.FOLDER)
        report = mine.run("luna", "verify", "--all", "--remote", "--json", code=1).stdout
        assert "git objects in cold storage" in report
        mine.luna("repair")
        assert mine.json("verify", "--all", "--remote")["clean"], damage
    assert list((mine.cold / "quarantine").iterdir())
    recover(mine.cold, tmp_path / "again")
    assert Repo(tmp_path / "again").references() == mine.references()


def test_git_objects_of_this_clone_come_back_from_cold_storage(mine):
    """A commit of the past, which no git remote has."""
    victim = mine.git("rev-parse", f"{mine.json('log')[1]['name']}^{{commit}}")
    git = Git(mine.path)
    for pack in (mine.path / ".git/objects/pack").glob("*.pack"):
        content = pack.read_bytes()
        for path in pack.parent.glob(f"{pack.stem}.*"):
            path.unlink()
        git.run("unpack-objects", "-q", stdin=content)
    place = mine.path / ".git/objects" / victim[:2] / victim[2:]
    place.chmod(0o644)
    place.write_bytes(b"")
    mine.luna("repair")
    assert mine.json("verify", "--all", "--remote")["clean"]


def test_what_cannot_be_recovered_is_refused_and_nothing_is_written(mine, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    assert "not empty" in recover(mine.cold, full, code=2).stderr
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    assert "no folder" in recover(tmp_path / "nowhere", tmp_path / "a", code=2).stderr
    assert "dvc-ssh" in recover("ssh://host/x", tmp_path / "a", code=2).stderr
    assert "no line" in recover(full, tmp_path / "a", code=2).stderr
    shutil.rmtree(mine.cold / packs.FOLDER)  # as a line was kept before
    said = recover(mine.cold, tmp_path / "a", code=2).stderr
    assert "5 generations" in said and "luna archive --all" in said
    assert not (tmp_path / "a").exists()


def test_several_lines_in_one_cold_storage_are_listed(mine, tmp_path):
    root = tmp_path / "root"
    for name in ("one", "two"):
        shutil.copytree(mine.cold, root / name)
    said = recover(root, tmp_path / "a", code=2).stderr
    assert str(root / "one") in said and str(root / "two") in said and "5 generations" in said
    shutil.rmtree(root / "two")
    recover(root, tmp_path / "a")
    assert Repo(tmp_path / "a").references() == mine.references()
    assert str(root / "one") in (tmp_path / "a/.dvc/config.local").read_text()


def test_killed_anywhere_the_same_command_goes_on(mine, tmp_path):
    chance = random.Random(7)
    full = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    began = time.monotonic()
    recover(mine.cold, tmp_path / "whole")
    took = time.monotonic() - began
    target = tmp_path / "again"
    for _ in range(2):
        shutil.rmtree(target, ignore_errors=True)
        process = subprocess.Popen(
            ["luna", "recover", str(mine.cold), str(target)],
            env=full,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(chance.uniform(0.3, 1.0) * took)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert not (target / ".git").exists() or (target / "dvc.lock").exists()
            recover(mine.cold, target)
        again = Repo(target)
        assert again.references() == mine.references()
        assert again.git("status", "--porcelain") == "" and "up to date" in again.dvc("status")
        assert not (target / ".luna-recover").exists()


def test_of_two_recoveries_into_one_folder_one_goes_on(mine, tmp_path):
    target = tmp_path / "new/luna"
    (target / ".luna-recover").mkdir(parents=True)
    with FileLock(target / ".luna-recover/lock"):
        assert "Another 'luna recover'" in recover(mine.cold, target, code=2).stderr
    recover(mine.cold, target)
    assert Repo(target).references() == mine.references()


def test_doctor_says_when_git_has_no_second_copy(mine):
    def state() -> str:
        [found] = [row for row in mine.json("doctor") if row["name"] == "second copy of git"]
        return found["state"]

    assert state() == "good"
    mine.git("commit", "-q", "--no-verify", "--allow-empty", "-m", "later")
    assert state() == "warning"
    mine.luna("archive", "HEAD")
    assert state() == "good"
    shutil.rmtree(mine.cold / packs.FOLDER)
    assert state() == "warning"
    mine.push_to(mine.path.parent / "bare.git")
    assert state() == "good"


def test_a_bundle_gives_the_one_generation_that_it_holds(mine, tmp_path):
    mine.luna("bundle", "G004", "-o", str(tmp_path / "g4.zip"))
    said = recover(tmp_path / "g4.zip", tmp_path / "out").stdout
    name = mine.json("log")[4]["name"]
    assert name in said and "one generation" in said
    model = (tmp_path / "out/models/model.gguf").read_bytes()
    assert model == (mine.path / "models/model.gguf").read_bytes()
    broken = bytearray((tmp_path / "g4.zip").read_bytes())
    broken[5000] ^= 1
    (tmp_path / "bad.zip").write_bytes(broken)
    assert "nothing was written" in recover(tmp_path / "bad.zip", tmp_path / "o", code=1).stderr
    assert not (tmp_path / "o").exists()
