"""Two clones of one line and a git remote between them: of two seals at once one wins, and the other goes on without training again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess

import pytest
import yaml
from conftest import BIN, Repo, facts, write_jsonl

from luna.history import shared
from luna.operations.renumber import renumber


def start(repo: Repo, *command: str) -> subprocess.Popen:
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.Popen(
        command,
        cwd=repo.path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def clone_of(repo: Repo, to) -> Repo:
    """A second clone with the same remote and the same cold storage."""
    other = repo.copy(to)
    other.run("dvc", "remote", "modify", "--local", "cold", "url", str(repo.cold))
    return other


def share(repo: Repo, bare) -> None:
    repo.push_to(bare)
    repo.luna("init")
    repo.luna("seal")


@pytest.fixture(scope="module")
def rivals(line, tmp_path_factory) -> tuple[Repo, Repo]:
    """Two clones that have both built their G004, each from a file of the same name. Their remote and cold storage are copied with ``both``."""
    folder = tmp_path_factory.mktemp("rivals")
    mine = line.copy(folder / "mine")
    share(mine, folder / "mine/origin.git")
    other = clone_of(mine, folder / "other")
    for repo, subject in ((mine, "meadow"), (other, "forest")):
        write_jsonl(repo.path / "data/conversations/third.jsonl", facts(subject, range(6)))
        repo.luna("new")
        repo.dvc("repro")
    return mine, other


def both(rivals: tuple[Repo, Repo], folder) -> tuple[Repo, Repo]:
    mine, other = rivals[0].copy(folder / "mine"), clone_of(rivals[1], folder / "other")
    for repo in (mine, other):
        repo.git("remote", "set-url", "origin", str(folder / "mine/origin.git"))
        repo.run("dvc", "remote", "modify", "--local", "cold", "url", str(mine.cold))
    return mine, other


def trained(repo: Repo) -> tuple[str, dict]:
    """The adapter's hash, and what the training tells of itself, its name aside: how long it took, to the hundredth of a second."""
    told = json.loads((repo.path / "models/train_args.json").read_text())
    return hashlib.sha256(
        (repo.path / "models/adapter/adapter_model.safetensors").read_bytes()
    ).hexdigest(), told | {"generation": None}


def test_sealed_at_once_one_wins_and_the_other_goes_on_renumbered(rivals, tmp_path):
    repos = both(rivals, tmp_path)
    names = {
        repo.path: yaml.safe_load((repo.path / "params.yaml").read_text())["generation"]["name"]
        for repo in repos
    }
    before = {repo.path: repo.snapshot() for repo in repos}
    processes = [start(repo, "luna", "seal") for repo in repos]
    said = [process.communicate() for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 2], said
    first = [process.returncode for process in processes].index(0)
    winner, loser, told = repos[first], repos[1 - first], said[1 - first][1]
    assert "another clone" in told and "luna seal --renumber" in told and "Traceback" not in told
    assert loser.snapshot() == before[loser.path]

    was = trained(loser)
    process = start(loser, "luna", "seal", "--renumber")
    for row in process.stderr:
        if "followed 'origin'" in row:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = loser.luna("seal", "--renumber")
    assert "train: " not in done.stdout and "Stage 'train' didn't change" in done.stdout, (
        done.stdout
    )
    assert trained(loser) == was

    log = loser.json("log")
    assert [row["gen"] for row in log] == [0, 1, 2, 3, 4, 5] and log[4]["name"] == names[
        winner.path
    ]
    assert log[5]["name"] != names[loser.path] and (log[5]["parent"], log[5]["head"]) == (3, True)
    for path in (
        "params.yaml",
        "models/metrics.json",
        "models/train_args.json",
        "models/EVAL.md",
        "models/MODEL_CARD.md",
        "models/model.gguf",
    ):
        text = (loser.path / path).read_bytes()
        assert names[loser.path].encode() not in text and (
            path == "models/EVAL.md" or log[5]["name"].encode() in text
        ), path
    delta = [
        json.loads(row)["id"]
        for row in (loser.path / "models/data_delta.jsonl").read_text().splitlines()
    ]
    subject = "forest" if first == 0 else "meadow"
    assert len(delta) == 6 and all(name.startswith(subject) for name in delta)
    assert loser.git("status", "--porcelain") == "" and "up to date" in loser.dvc("status")
    # What the other was taught is there and waits for the next generation.
    assert loser.json("status")["pending"]["conversations"] == 6
    assert len((loser.path / "data/conversations/third.jsonl").read_text().splitlines()) == 12

    winner.git("pull", "-q", "--ff-only", "origin", "main")
    winner.git("fetch", "-q", "origin")
    assert (
        winner.references().replace("refs/remotes", "")
        and winner.json("log")[5]["name"] == log[5]["name"]
    )
    for repo in (winner, loser):
        repo.luna("verify", "--all", "--remote")
    loser.luna("new")


def test_killed_after_the_remote_had_taken_it_the_seal_is_finished_here(rivals, tmp_path):
    """As a kill between the push and the transaction leaves it: the remote has this very seal, and nothing is sealed here."""
    mine, _ = both(rivals, tmp_path)
    twin = clone_of(mine, tmp_path / "twin")
    twin.luna("seal")
    assert "promoted" in mine.luna("seal").stdout
    assert mine.git("for-each-ref", "refs/heads", "refs/tags", "refs/luna") == twin.git(
        "for-each-ref", "refs/heads", "refs/tags", "refs/luna"
    )
    assert mine.git("status", "--porcelain") == "" and "up to date" in mine.dvc("status")


def test_commits_of_both_are_joined_or_nothing_is_changed(rivals, tmp_path):
    mine, other = both(rivals, tmp_path)
    other.git("checkout", "-q", "--", ".")
    (other.path / "NOTES.md").write_text("theirs\n")
    other.commit("notes")
    other.git("push", "-q", "--no-verify", "origin", "main")
    (mine.path / "NOTES.md").write_text("mine, not committed\n")
    before = mine.snapshot()
    assert (
        "NOTES.md was changed here and in 'origin'"
        in mine.luna("seal", "--renumber", code=2).stderr
    )
    after = mine.snapshot()
    assert after[1] == before[1] and "refs/heads/main" in after[0]
    (mine.path / "NOTES.md").unlink()
    (mine.path / "MINE.md").write_text("mine\n")
    mine.git("add", "MINE.md")
    mine.git("commit", "-q", "--no-verify", "-m", "mine")
    with pytest.raises(shared.Overtaken):
        shared.require_not_overtaken(_git(mine), "refs/heads/main", shared.ask(_git(mine)))
    done = renumber(mine.path)
    assert done.was == done.name  # the number is still free
    assert (mine.path / "NOTES.md").read_text() == "theirs\n" and (
        mine.path / "MINE.md"
    ).read_text() == "mine\n"
    assert mine.git("rev-parse", "main^1") == mine.git("rev-parse", "origin/main")
    changed = mine.git("diff", "--name-only", "HEAD").splitlines()
    assert {
        path
        for path in changed
        if not path.startswith(("models/", "params.yaml", "dvc.lock", "lineage.csv"))
    } == {"data/conversations/third.jsonl"}
    # What came along waits: the generation is taught what it was taught, and not trained again.
    was = trained(mine)
    sealed = mine.luna("seal", "--renumber").stdout
    assert (
        "train: " not in sealed
        and trained(mine) == was
        and mine.json("log")[4]["name"] == done.name
    )
    assert mine.json("status")["pending"]["conversations"] == 6 and "up to date" in mine.dvc(
        "status"
    )
    other.git("fetch", "-q", "origin")
    assert (
        "was sealed before" in other.luna("seal", "--renumber").stdout
    )  # nothing is being built there now


def _git(repo: Repo):
    from luna.repo.git import Git

    return Git(repo.path)
