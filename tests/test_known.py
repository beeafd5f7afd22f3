"""What is missing is never taken for "there is none": clones that lack something, tags that moved, branches that were rewritten."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN, Repo, facts, write_jsonl

from luna import artifacts
from luna.errors import StateError
from luna.history import record
from luna.operations import evolve

NO_HOOKS = ("-c", "core.hooksPath=/dev/null")
WRITING = (
    ("new",),
    ("seal",),
    ("evolve",),
    ("rollback", "1", "--reason", "x"),
    ("archive", "--all"),
    ("gc", "--yes"),
    ("snapshot", "data", "--tag", "x", "-m", "x"),
)


@pytest.fixture
def mine(line, tmp_path) -> Repo:
    return line.copy(tmp_path / "mine")


def clone(repo: Repo, folder: Path, *flags: str) -> Repo:
    other = Repo(folder)
    repo.run("git", "clone", "-q", *flags, f"file://{repo.path}", str(folder))
    other.git("config", "user.name", "Other")
    other.git("config", "user.email", "other@example.com")
    other.dvc("remote", "add", "--local", "--default", "cold", str(repo.cold))
    return other


def refused(repo: Repo, remedy: str, *commands: tuple[str, ...]) -> None:
    """Every command that writes refuses with the same command to run, and changes nothing."""
    before = repo.snapshot()
    for command in commands or WRITING:
        done = repo.luna(*command, code=2)
        assert remedy in done.stderr and "nothing was changed" in done.stderr, (command, done)
    assert repo.snapshot() == before


def follow(repo: Repo, remedy: str) -> None:
    """Do what the advice says, word by word, as a person would paste it."""
    repo.run("sh", "-c", remedy)


def name_of(repo: Repo, number: int) -> str:
    return next(tag for tag in repo.git("tag").splitlines() if f"-G{number:03d}-" in tag)


def test_a_clone_without_tags_says_so_and_seals_nothing_a_second_time(mine, tmp_path):
    other = clone(mine, tmp_path / "other", "--no-tags")
    write_jsonl(other.path / "data/conversations/third.jsonl", facts("valley", range(4)))
    assert other.json("status")["next"] == "git fetch --tags origin"
    refused(other, "git fetch --tags origin")
    assert "none" not in other.luna("log", code=1).stdout
    assert "git fetch --tags origin" in other.luna("report", code=2).stderr
    report = json.loads(other.luna("verify", "--quick", "--json", code=1).stdout)
    assert [finding["object"][:9] for finding in report["findings"]] == [
        f"Luna-G{number:03d}" for number in range(4)
    ]
    third = clone(mine, tmp_path / "third", "--no-tags")
    third.luna("init")
    assert third.git("tag") == mine.git("tag") and third.git("rev-parse", record.REF)
    follow(other, other.json("status")["next"])
    assert [doubt["remedy"] for doubt in other.json("status")["doubts"]] == ["luna init"]
    assert len(other.json("log")) == 4


def test_repair_brings_the_tags_of_a_clone_without_them(mine, tmp_path):
    other = clone(mine, tmp_path / "other", "--no-tags")
    other.luna("repair", code=None)
    assert other.git("tag") == mine.git("tag")


def test_a_person_s_commit_of_unsealed_results_is_no_missing_tag(built, tmp_path):
    repo = built.copy(tmp_path / "mine")
    repo.commit("my results so far")
    assert repo.json("status")["doubts"] == []


def test_weights_never_go_into_git_whatever_gitignore_says(built, tmp_path):
    repo = built.copy(tmp_path / "mine")
    (repo.path / "models/.gitignore").unlink(missing_ok=True)
    (repo.path / ".gitignore").write_text("/.venv/\n/.luna/\n__pycache__/\n")  # of an older Luna
    repo.luna("seal")
    sealed = repo.git("ls-tree", "-r", "--name-only", "HEAD", "models").splitlines()
    assert "models/metrics.json" in sealed
    kept = artifacts.KEPT_BY_DVC
    assert not [name for name in sealed if any(Path(name).is_relative_to(path) for path in kept)]


def test_tags_deleted_behind_the_hooks_stop_a_seal_until_they_are_back(built, tmp_path):
    repo = built.copy(tmp_path / "mine")
    tags, before = repo.git("tag"), repo.json("status")["head"]
    for tag in (name_of(repo, 3), "luna@v3.0.0", "luna#head#3", "Luna-GHEAD"):
        repo.git(*NO_HOOKS, "tag", "-d", tag)
    refused(repo, "luna repair", ("seal",), ("evolve",))
    assert repo.json("status")["next"] == "luna repair"
    follow(repo, repo.json("status")["next"])
    assert repo.git("tag") == tags and repo.json("status")["head"] == before


def test_a_shallow_clone_is_called_one_and_told_how_to_become_whole(mine, tmp_path):
    other = clone(mine, tmp_path / "other", "--depth", "1")
    remedy = "git fetch --unshallow --tags"
    said = other.luna("init").stderr
    assert remedy in said and "ready" not in said
    assert other.json("status")["next"] == remedy
    other.git("tag", "-d", "Luna-GHEAD")
    for asking in (("chat",), ("restore", "HEAD"), ("diff", "1", "HEAD"), ("chat", "G001")):
        wrong = other.luna(*asking, code=2).stderr
        assert remedy in wrong.splitlines()[-1] and "evolve" not in wrong, asking
    refused(other, remedy, ("new",), ("evolve",))
    assert remedy in other.luna("doctor", code=1).stdout
    report = json.loads(other.luna("verify", "--json", code=1).stdout)
    assert [(finding["kind"], finding["mend"]) for finding in report["findings"]] == [
        (
            "shallow clone",
            f"{remedy}; where the remote is shallow too: luna repair (from cold storage)",
        )
    ]
    assert remedy in other.json("status")["next"]
    follow(other, remedy)
    assert other.json("status")["doubts"] == [] and len(other.json("log")) == 4
    other.luna("init")
    other.luna("verify", "--quick")


def test_a_tag_whose_object_is_gone_is_as_good_as_none(mine):
    for tag in ("Luna-GHEAD", "luna@v1.0.0"):
        (mine.path / f".git/refs/tags/{tag}").write_text(
            "324d593060b7149a27ddb897f4628274247c1d32\n"
        )
    assert mine.json("status")["next"] == "luna repair"
    assert "luna@v1.0.0" in mine.luna("verify", "--quick", code=1).stdout
    mine.luna("repair")
    mine.luna("verify", "--all", "--remote")


def test_a_plain_clone_is_not_damaged_and_told_to_run_init(mine, tmp_path):
    other = clone(mine, tmp_path / "other")
    [doubt] = other.json("status")["doubts"]
    assert doubt["kind"] == "record not fetched" and doubt["remedy"] == "luna init"
    assert f"{doubt['what']}: luna init" in other.luna("status").stdout
    findings = other.json("verify", "--remote")["findings"]
    [finding] = [row for row in findings if row["kind"] == "record"]
    assert (finding["severity"], finding["mend"]) == ("note", "luna init")
    other.luna("init")
    assert other.json("status")["doubts"] == [] and other.git("rev-parse", record.REF)
    # Once the clone is set up, a record that is gone is damage.
    other.git(*NO_HOOKS, "update-ref", "-d", record.REF)
    assert other.json("status")["doubts"] == []
    last = other.luna("verify", "--quick", code=1).stdout.splitlines()[-1]
    assert last.endswith(": 1 case of damage found")


def test_files_of_another_generation_in_the_workspace_are_named_and_put_back(mine):
    assert mine.json("status")["foreign"] is None
    before = mine.snapshot()
    mine.git("checkout", name_of(mine, 1), "--", ".")
    status = mine.json("status")
    assert "lineage.csv" in status["foreign"] and status["next"].startswith("git stash ")
    follow(mine, "git stash")
    assert mine.json("status")["foreign"] is None and mine.snapshot()[1] == before[1]


def test_repair_brings_the_record_that_a_plain_clone_lacks_from_its_remote(mine, tmp_path):
    other = clone(mine, tmp_path / "other")
    other.dvc("remote", "modify", "--local", "cold", "url", str(tmp_path / "none"))
    other.luna("repair", code=None)
    assert other.git("rev-parse", record.REF) == mine.git("rev-parse", record.REF)
    assert other.json("status")["doubts"] == []


def test_a_shallow_clone_of_a_shallow_clone_becomes_whole_from_cold_storage(mine, tmp_path):
    first = clone(mine, tmp_path / "first", "--depth", "1")
    first.git("tag", "-d", "Luna-GHEAD", code=None)
    other = clone(first, tmp_path / "other", "--depth", "1")
    other.luna("init", code=None)
    follow(other, "git fetch --unshallow --tags")  # git has no more to give, and says no error
    assert "neither a git remote nor cold storage" in other.luna("repair", code=2).stderr
    other.luna("cold", str(mine.cold))
    assert "came from cold storage" in other.luna("repair").stderr
    assert other.git("tag") == mine.git("tag") and other.json("status")["doubts"] == []
    other.luna("verify", "--all", "--remote")


@pytest.mark.parametrize("state", ["gone", "empty", "spoiled", "of no use"])
def test_without_its_settings_the_line_is_still_shown_and_nothing_is_begun(mine, state):
    path = mine.path / "params.yaml"
    text = path.read_text()
    path.unlink()
    if state != "gone":
        path.write_text(
            {"empty": "", "spoiled": text[:700], "of no use": text + "more: 1\n"}[state]
        )
    shown = mine.json("status")
    assert shown["generations"] == 4 and "git restore" in shown["next"]
    assert mine.json("log") and mine.luna("doctor", code=1)
    code = 1 if state in ("gone", "empty") else 0
    findings = json.loads(mine.luna("verify", "--json", code=code).stdout)["findings"]
    assert "params.yaml" in [item["object"] for item in findings]
    before = mine.snapshot()
    assert all("params.yaml" in mine.luna(word, code=2).stderr for word in ("new", "evolve"))
    assert mine.snapshot() == before
    follow(mine, re.search("(git restore [^']*)", shown["next"])[1])
    assert path.read_text() == text and mine.git("status", "--porcelain") == ""


def test_repair_puts_back_settings_that_are_gone(mine):
    text = (mine.path / "params.yaml").read_text()
    (mine.path / "params.yaml").unlink()
    mine.luna("repair")
    assert (mine.path / "params.yaml").read_text() == text


def test_a_partial_clone_whose_remote_is_away_accuses_nobody(mine, tmp_path):
    """git cannot fetch: that is an error of the reader, and says nothing about history."""
    mine.git("config", "uploadpack.allowFilter", "true")
    other = clone(mine, tmp_path / "other", "--filter=blob:none")
    other.luna("init")
    shutil.move(mine.path, tmp_path / "away")
    before = other.snapshot()
    for command in (("verify", "--quick"), ("repair",), ("doctor", "--checklist", "1")):
        done = other.luna(*command, code=2)
        assert "git" in done.stderr and done.stdout == "", done
        assert "lightweight tag" not in done.stderr and "tag -d" not in done.stderr
    assert other.snapshot() == before
    shutil.move(tmp_path / "away", mine.path)
    other.luna("verify", "--quick")


def test_no_advice_deletes_a_tag_and_what_is_no_generation_is_put_aside(mine):
    mine.git("tag", "Luna-G009-20200101-000000")
    mine.git(*NO_HOOKS, "tag", "-a", "-m", "x", "Luna-G001-20991231-000000", "main")
    refused(mine, "luna repair", ("new",))
    said = mine.luna("verify", "--quick", code=1).stdout
    assert "lightweight tag" in said and "second tag" in said and "tag -d" not in said
    mine.luna("repair")
    mine.luna("verify", "--quick")
    assert mine.json("status")["generations"] == 4
    assert len(mine.git("for-each-ref", "refs/quarantine").splitlines()) == 2


@pytest.mark.parametrize("who", ["head", "head with a forged move", "generation"])
def test_status_shows_a_doubt_where_a_stranger_moved_the_head_or_a_tag(mine, who):
    denied = name_of(mine, 2)
    if who == "generation":
        mine.git(*NO_HOOKS, "tag", "-f", "-a", "-m", "mine", denied, "main~1")
    else:
        mine.git(*NO_HOOKS, "tag", "-f", "-a", "-m", "mine", "Luna-GHEAD", f"{denied}^{{}}")
    if who == "head with a forged move":
        mine.git("tag", "-a", "-m", "mine", "luna#head#4", f"{denied}^{{}}")
    doubts = mine.json("status")["doubts"]
    assert doubts and "doubt" in mine.luna("status").stdout
    if who != "head with a forged move":
        refused(mine, "luna repair", ("new",))
        follow(mine, doubts[0]["remedy"])
        assert mine.json("status")["doubts"] == []


def amended(repo: Repo, way: str) -> None:
    repo.git("config", "core.hooksPath", "/dev/null")
    if way == "reworded":
        repo.git("commit", "-q", "--amend", "--allow-empty", "-m", "mine")
    elif way == "amended, with a change in the workspace":
        (repo.path / "notes.txt").write_text("mine\n")
        repo.git("add", "notes.txt")
        repo.git("commit", "-q", "--amend", "--no-edit")
        (repo.path / "notes.txt").write_text("more\n")
    elif way == "amended, with later work":
        repo.git("commit", "-q", "--amend", "-m", "mine")
        (repo.path / "notes.txt").write_text("mine\n")
        repo.commit("later work")
    else:
        repo.git("filter-branch", "-f", "--msg-filter", "sed s/Parent/Elter/", "--", "main")
    repo.git("config", "--unset", "core.hooksPath")


@pytest.mark.parametrize(
    "way",
    [
        "reworded",
        "amended, with a change in the workspace",
        "amended, with later work",
        "filter-branch",
    ],
)
def test_a_sealed_commit_that_was_rewritten_on_its_branch(mine, way):
    amended(mine, way)
    name = name_of(mine, 3)
    write_jsonl(mine.path / "data/conversations/third.jsonl", facts("valley", range(4)))
    found = mine.json("status")
    if way in ("reworded", "filter-branch"):
        assert found["next"] == f"git reset --hard {name}"
    assert f"git reset --{'soft' if 'with' in way else 'hard'} {name}" in found["next"]
    assert found["next"] in mine.luna("new", code=2).stderr
    assert found["next"] in mine.luna("verify", "--quick", code=1).stdout
    history, notes = mine.git("log", "--format=%s", "--all"), mine.path / "notes.txt"
    text = notes.read_text() if notes.exists() else None
    follow(mine, found["next"])
    assert mine.json("status")["where"]["position"] == "the tip of the line"
    assert (notes.read_text() if notes.exists() else None) == text
    assert ("later work" in mine.git("log", "--format=%s", "--all")) == ("later work" in history)
    mine.luna("verify", "--quick")


def test_the_way_back_is_true_for_each_place_and_names_the_real_branch(mine):
    mine.git("branch", "-m", "main", "master")
    old = name_of(mine, 1)
    write_jsonl(mine.path / "data/conversations/third.jsonl", facts("valley", range(4)))
    for there, position in (
        (("checkout", "-q", old), "an earlier commit"),
        (("checkout", "-q", "--detach", "master"), "without a branch"),
        (("switch", "-q", "-c", "behind", old), "ends before"),
    ):
        mine.git(*NO_HOOKS, *there)
        found = mine.json("status")
        assert position in found["where"]["position"], found["where"]
        assert found["next"] == "git switch master"
        assert "git switch master" in mine.luna("new", code=2).stderr
        mine.git(*NO_HOOKS, "switch", "-q", "master")
    # With another generation's files in the workspace, which git would not switch over.
    mine.git(*NO_HOOKS, "checkout", "-q", old)
    mine.git("checkout", name_of(mine, 2), "--", ".")
    assert mine.json("status")["next"] == "git stash && git switch master"
    follow(mine, mine.json("status")["next"])
    # Also where the only branch that holds the line is the remote's, or none is.
    mine.git(*NO_HOOKS, "branch", "-f", "behind", "master")
    mine.git(*NO_HOOKS, "reset", "-q", "--hard", old)
    assert mine.json("status")["next"] == "git switch behind"
    mine.git("branch", "-D", "behind")
    follow(mine, mine.json("status")["next"])
    assert mine.json("status")["next"] == "luna evolve"


def test_a_seal_amended_with_another_generations_files_is_left_on_a_branch_of_its_own(mine):
    newest = name_of(mine, 3)
    mine.git("checkout", name_of(mine, 0), "--", ".")
    mine.git(*NO_HOOKS, "commit", "--amend", "-q", "--no-edit", "--no-verify")
    amended = mine.git("rev-parse", "HEAD")
    follow(mine, mine.json("status")["next"])
    assert mine.git("rev-parse", "HEAD") == mine.git("rev-parse", f"{newest}^{{}}")
    assert amended in mine.git("for-each-ref", "refs/heads/before-*")
    assert mine.git("status", "--porcelain") == ""
    mine.luna("verify", "--quick")


def test_a_merge_that_was_not_finished_is_given_up_first(mine):
    mine.git(*NO_HOOKS, "switch", "-q", "-c", "other", name_of(mine, 1))
    (mine.path / "lineage.csv").write_text("mine\n")
    mine.git("commit", "-q", "--no-verify", "-am", "mine")
    mine.git(*NO_HOOKS, "merge", "main", code=1)
    assert mine.json("status")["next"] == "git merge --abort"
    assert "git merge --abort" in mine.luna("new", code=2).stderr
    follow(mine, "git merge --abort")
    assert mine.json("status")["next"] == "git switch main"


def start(repo: Repo, *command: str) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=repo.path,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_checkout_while_a_build_runs_is_taken_back(mine):
    """Whichever way git is asked, and whether Luna or DVC builds; nothing that the build works on is touched."""
    mine.luna("init")
    (mine.path / "wait.py").write_text(
        "import time\nprint('waiting', flush=True)\ntime.sleep(600)\n"
    )
    mine.git("add", "wait.py")
    mine.git("commit", "-q", "-m", "mine")
    (mine.path / "dvc.yaml").write_text(
        "stages:\n  wait:\n    cmd: python wait.py\n    outs: [models/adapter]\n"
    )
    process = start(mine, "dvc", "repro", "wait")
    assert any("waiting" in line for line in process.stdout)
    assert not (mine.path / "models/adapter").exists()
    try:
        for there in (
            ("switch", "-c", "foo"),
            ("switch", "foo"),
            ("checkout", "-f", name_of(mine, 1)),
            ("switch", "-f", "--detach", "foo"),
        ):
            done = mine.run("git", *there, code=1)
            assert "was taken back" in done.stderr and "dvc repro" in done.stderr, done
            assert mine.git("branch", "--show-current") == "main"
            assert not (mine.path / "models/adapter").exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    mine.git("checkout", "-q", "--", ".")
    mine.git("switch", "-q", "foo")
    assert (mine.path / "models/adapter").is_dir()


def test_a_checkout_by_force_while_a_stage_runs_leaves_what_it_is_built_from(mine):
    mine.luna("init")
    (mine.path / "luna_wait.py").write_text(
        "import time\nfrom luna import stage\n"
        "stage.run('wait', lambda: (print('waiting', flush=True), time.sleep(600)))\n"
    )
    mine.git("add", "luna_wait.py")
    mine.git("commit", "-q", "-m", "mine")
    write_jsonl(mine.path / "data/conversations/new.jsonl", facts("new", range(4)))
    params = (mine.path / "params.yaml").read_text()
    (mine.path / "params.yaml").write_text(params.replace("seed: 7", "seed: 8"))
    mine.luna("new")
    built_from = [mine.path / name for name in ("params.yaml", "models/build.json")]
    before = [path.read_bytes() for path in built_from]
    process = start(mine, sys.executable, "-P", "luna_wait.py")
    assert any("waiting" in line for line in process.stdout)
    (mine.path / ".luna/command.holder").write_text(f"'luna evolve' (process {process.pid})")
    try:
        # As when Luna itself runs it.
        done = mine.run("git", "checkout", "-f", name_of(mine, 1), code=1)
        assert "was taken back" in done.stderr
        assert mine.git("branch", "--show-current") == "main"
        assert [path.read_bytes() for path in built_from] == before
        assert mine.json("status")["building"] == json.loads(before[1])["name"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_checkout_that_was_not_taken_back_stops_the_build_before_its_seal(built, tmp_path):
    repo = built.copy(tmp_path / "mine")
    name = repo.json("status")["building"]
    repo.git(*NO_HOOKS, "switch", "-q", "-c", "foo")
    with pytest.raises(StateError, match="git switch main"):
        evolve._require_undisturbed(repo.path, name, "refs/heads/main")
    repo.git(*NO_HOOKS, "checkout", "-q", "-f", "main")
    repo.git(*NO_HOOKS, "checkout", "-q", "--", "params.yaml")
    with pytest.raises(StateError, match="params.yaml"):
        evolve._require_undisturbed(repo.path, name, "refs/heads/main")


def stored_record(repo: Repo) -> int:
    return len(list(repo.cold.rglob("luna-record/*.json")))


@pytest.mark.parametrize(
    "moment",
    [
        "before the checkout",
        "files half written",
        "index written, HEAD not yet moved",
        "in DVC's hook",
    ],
)
def test_a_rollback_that_was_killed_is_finished_by_the_same_command(mine, moment):
    """What a kill leaves at each moment is made by git itself; luna/bench kills at random ones."""
    command = ("rollback", "1", "--reason", "answers were dull")
    entries, main = stored_record(mine), mine.git("rev-parse", "main")
    mine.luna(*command)
    old = mine.git("rev-parse", "HEAD")
    after = stored_record(mine)
    assert after > entries
    # The state that a kill leaves: the head has moved, the store was not told.
    for path in sorted(mine.cold.rglob("luna-record/*.json"))[entries:]:
        path.unlink()
    note = {
        "generation": name_of(mine, 1),
        "before": main,
        "target": old,
        "move": 4,
        "reason": "answers were dull",
    }
    (mine.path / ".luna/checkout.json").write_text(json.dumps(note))
    if moment != "in DVC's hook":
        mine.git(*NO_HOOKS, "switch", "-q", "main")
        mine.dvc("checkout")
    if moment == "files half written":
        changed = mine.git(
            "diff",
            "--name-only",
            "main",
            old,
        ).splitlines()
        for number, path in enumerate(changed):
            there = mine.path / path
            content = mine.run("git", "show", f"{old}:{path}", code=None).stdout
            if number % 3 == 0:
                there.unlink(missing_ok=True)
            elif number % 3 == 1:
                there.write_text(content[: len(content) // 2])
    elif moment == "index written, HEAD not yet moved":
        mine.git("read-tree", "-u", "--reset", old)
        assert "D  data/conversations/second.jsonl" in mine.git("status", "--porcelain")
    elif moment == "in DVC's hook":
        (mine.path / "models/model.gguf").unlink()
    own = mine.path / "notes.txt"
    own.write_text("mine\n")
    if moment != "in DVC's hook":
        found = mine.json("status")
        assert found["next"] == f"luna rollback {note['generation']} --reason 'answers were dull'"
        done = mine.luna("new", code=2)
        assert found["next"] in done.stderr and "commit" not in done.stderr
    mine.luna(*command)
    assert mine.git("rev-parse", "HEAD") == old and mine.git("status", "--porcelain", "-uno") == ""
    assert "up to date" in mine.dvc("status") and stored_record(mine) == after and own.exists()
    assert mine.json("status")["head"] == note["generation"] and mine.json("status")["doubts"] == []
    assert len(mine.json("log", "--head")) == 4
    mine.luna(*command)  # and once more: nothing is left to do
    assert len(mine.json("log", "--head")) == 4
    assert re.search("already", mine.luna("rollback", "1", "--reason", "y", code=2).stderr)
