"""Bad input and faults injected for real: one sentence, the right exit code, nothing changed, and going on afterwards."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BIN, Repo, facts, write_jsonl


@pytest.fixture
def mine(fresh, tmp_path) -> Repo:
    return fresh.copy(tmp_path / "mine")


def refuse(repo: Repo, *arguments: str, says: str) -> None:
    before = repo.snapshot()
    done = repo.luna(*arguments, code=2)
    assert says in done.stderr, done.stderr
    assert (
        len([line for line in done.stderr.strip().splitlines() if line.startswith("luna: ")]) == 1
    )
    assert repo.snapshot() == before


def test_bad_input_changes_nothing(mine):
    good = (mine.path / "data/conversations/first.jsonl").read_text()
    (mine.path / "data/conversations/first.jsonl").write_text(good + "{oops\n")
    refuse(mine, "new", says="first.jsonl line 13")
    refuse(mine, "evolve", says="first.jsonl line 13")
    (mine.path / "data/conversations/first.jsonl").write_text("")
    refuse(mine, "evolve", says="no conversation")
    (mine.path / "data/conversations/first.jsonl").write_text(good)

    shipped = (mine.path / "params.yaml").read_text()
    for old, new, says in (
        ("learning_rate:", "learning_rat:", "unknown parameter 'train.learning_rat'"),
        ("epochs: auto", "epochs: -2", "train.epochs"),
        ("source: ", "source: /nowhere", "/nowhere"),
        ("quantization: Q8_0", "quantization: Q9", "Q8_0"),
    ):
        (mine.path / "params.yaml").write_text(shipped.replace(old, new))
        refuse(mine, "evolve", says=says)
    (mine.path / "params.yaml").write_text(shipped)

    (mine.path / "dvc.yaml").write_text((mine.path / "dvc.yaml").read_text() + "# mine\n")
    refuse(mine, "new", says="dvc.yaml has uncommitted changes")
    mine.git("checkout", "-q", "dvc.yaml")

    refuse(mine, "seal", says="luna new")
    refuse(mine, "rollback", "3", "--reason", "x", says="no generation '3'")
    refuse(mine, "restore", "HEAD", says="no current best")
    mine.luna("new")
    refuse(mine, "new", says="still being built")
    refuse(mine, "seal", says="dvc repro")
    mine.luna("new", "--replace")


def test_outside_a_repository(tmp_path):
    done = Repo(tmp_path).luna("status", code=2)
    assert "not inside a git repository" in done.stderr


def test_a_parent_that_does_not_exist(mine):
    mine.luna("new")
    text = (mine.path / "params.yaml").read_text()
    (mine.path / "params.yaml").write_text(
        text.replace("G000", "G001").replace("parent: base", "parent: Luna-G000-20200101-000000")
    )
    done = mine.run("dvc", "repro", "prep", code=None)
    assert (
        done.returncode
        and "Luna-G000-20200101-000000" in done.stderr
        and "Traceback" not in done.stderr
    )


def start(repo: Repo, *command: str) -> subprocess.Popen:
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.Popen(
        command,
        cwd=repo.path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen, text: str) -> None:
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"'{text}' did not come")


def gone(process: subprocess.Popen) -> None:
    """Wait until no process of its group is left; DVC takes a dead one that nobody has reaped for alive."""
    deadline = time.monotonic() + 60
    while subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).stdout:
        assert time.monotonic() < deadline, "a process goes on without its pipeline"
        os.sched_yield()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_in_training_it_goes_on_from_the_checkpoint_to_the_same_bytes(mine, tmp_path):
    mine.edit_params(("max_steps: 4", "max_steps: 12"))
    mine.commit("longer")
    other = mine.copy(tmp_path / "undisturbed")
    mine.luna("evolve", "--max", "1")  # 0 and 1, undisturbed
    expected = sha256(mine.path / "models/adapter/adapter_model.safetensors")

    process = start(other, "luna", "evolve")
    wait_for(process, "train: step 1/12")
    checkpoints = other.path / ".luna/checkpoints"
    while not list(checkpoints.glob("*/checkpoint-4")):  # the one before is whole by then
        assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    gone(process)
    newest = max(
        checkpoints.glob("*/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])
    )
    (newest / "trainer_state.json").write_bytes(
        b""
    )  # as a kill in the middle of writing it leaves it
    done = other.luna("evolve")
    assert "Resuming" in done.stderr and "train: resuming at step" in done.stdout
    assert f"train: resuming at step {newest.name.rpartition('-')[2]} " not in done.stdout
    assert sha256(other.path / "models/adapter/adapter_model.safetensors") == expected
    assert [row["gen"] for row in other.json("log")] == [0, 1]


def test_a_stage_ends_with_its_pipeline(mine):
    """Only 'dvc repro' is killed: a stage that went on alone would write into the next run's files."""
    mine.edit_params(("max_steps: 4", "max_steps: 100000"))
    mine.commit("endless")
    process = start(mine, "luna", "evolve")
    wait_for(process, "train: step 1/100000")
    dvc = subprocess.run(
        ["pgrep", "-g", str(process.pid), "-f", "dvc repro|dvc.repo"],
        capture_output=True,
        text=True,
        check=True,
    )
    for pid in [process.pid, *map(int, dvc.stdout.split())]:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    gone(process)


def test_killed_while_dvc_wrote_its_lock_file_nothing_is_trained_again(line, tmp_path):
    """It writes dvc.lock in its place, and the list of who reads and writes what: neither stops the next build."""
    repo = line.copy(tmp_path / "mine")
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    repo.luna("new")
    repo.dvc("repro")
    lock, whole = repo.path / "dvc.lock", (repo.path / "dvc.lock").read_bytes()
    lock.write_bytes(whole[:8192])  # what is written first
    (repo.path / ".dvc/tmp/rwlock").write_bytes(b"")
    done = repo.luna("evolve")
    assert (
        "Running stage 'train'" not in done.stdout
        and "Running stage 'promote'" in done.stdout
        and repo.json("log")[-1]["gen"] == 4
    )
    assert (repo.path / "quarantine/dvc.lock").read_bytes() == whole[:8192]


@pytest.mark.parametrize("step", ["archiving", "committing"])
def test_killed_while_sealing_the_same_command_goes_on(line, tmp_path, step):
    repo = line.copy(tmp_path / "mine")
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    repo.luna("new")
    repo.dvc("repro")
    process = start(repo, "luna", "seal")
    wait_for(process, f"seal: {step}")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    head = repo.json("status")["head"]
    assert head.startswith(("Luna-G003", "Luna-G004"))
    repo.luna("seal")
    assert repo.json("status")["head"].startswith("Luna-G004")
    assert repo.git("status", "--porcelain") == "" and "up to date" in repo.dvc("status")
    assert [move["generation"][:9] for move in repo.json("log", "--head")] == [
        "Luna-G000",
        "Luna-G001",
        "Luna-G003",
        "Luna-G004",
    ]


@pytest.mark.parametrize("lost", ["head", "assignment", "branch"])
def test_a_transaction_cut_between_two_references_is_completed(line, tmp_path, lost):
    """The record is the last of the references, so whatever else is lacking it does not know of this seal yet."""
    repo = line.copy(tmp_path / "mine")
    before = repo.json("status")
    no_hooks = ("-c", "core.hooksPath=/dev/null", "update-ref")
    if lost == "branch":
        repo.git("update-ref", "refs/heads/main", "main~1")
    else:
        repo.git(*no_hooks, "refs/luna/record", "refs/luna/record~1")
        known = len(repo.git("show", "refs/luna/record:record.jsonl").splitlines())
        for path in sorted(repo.cold.rglob("luna-record/*.json"))[known:]:
            path.unlink()  # cold storage is told after git's references
        repo.git("tag", "-f", "-a", "-m", "its move before", "Luna-GHEAD", "luna#head#2^{}")
        if lost == "assignment":
            repo.git(*no_hooks, "-d", "refs/tags/luna#head#3")
        assert "luna seal" in repo.luna("new", code=2).stderr
    repo.luna("seal")
    assert repo.json("status") == before
    assert repo.json("log", "--head")[-1]["generation"].startswith("Luna-G003")


def test_ctrl_c_leaves_a_state_from_which_it_goes_on(mine):
    process = start(mine, "luna", "evolve")
    wait_for(process, "Running stage 'prep'")
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "Traceback" not in rest, rest
    mine.luna("evolve")
    assert [row["gen"] for row in mine.json("log")] == [0, 1]


def test_sigterm_in_each_stage_leaves_nothing_half_written_and_the_same_command_goes_on(
    fresh, line, tmp_path
):
    """Only 'luna evolve' is told, as a service manager does; what it started ends with it, and cleans up."""
    first, later = fresh.copy(tmp_path / "first"), line.copy(tmp_path / "later")
    write_jsonl(later.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    later.edit_params(("max_steps: 4", "max_steps: 400"))
    marks = {"train": "train: step 1/400"}
    for repo, stage in (
        (first, "base"),
        *((later, stage) for stage in ("prep", "train", "export", "evaluate", "promote")),
    ):
        process = start(repo, "luna", "evolve")
        wait_for(process, marks.get(stage, f"Running stage '{stage}'"))
        while stage == "export" and not list((repo.path / ".luna").glob("tmp*/*.gguf")):
            assert process.poll() is None, "it ended before it could be told"
        process.terminate()
        rest = process.communicate(timeout=120)[0]
        assert (
            process.returncode == 128 + signal.SIGTERM
            and "luna: stopped; run the same command again" in rest
            and "Traceback" not in rest
        ), rest
        gone(process)
        left = [path for path in repo.path.rglob("*.tmp") if ".git" not in path.parts] + list(
            (repo.path / ".luna").glob("tmp*")
        )
        assert not left, left
        if stage == "train":
            repo.edit_params(("max_steps: 400", "max_steps: 4"))  # it need not be waited for
    later.luna("evolve")
    assert later.json("status")["head"].startswith("Luna-G004") and "up to date" in later.dvc(
        "status"
    )


def test_two_commands_at_once(mine):
    process = start(mine, "luna", "evolve")
    wait_for(process, "Running stage 'base'")
    done = mine.luna("new", code=2)
    assert "in use by 'luna evolve'" in done.stderr
    mine.luna("status")  # looking is always possible
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def disk(tmp_path):
    """Mounts a small file system for real and gives ``(place, remount)``; only root can."""
    mounted = []

    def mount(size: str):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        if (
            os.geteuid()
            or subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
                capture_output=True,
            ).returncode
        ):
            pytest.skip("mounting needs root")
        mounted.append(place)
        return place, lambda options: subprocess.run(
            ["mount", "-o", f"remount,{options}", str(place)], check=True
        )

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_for_cold_storage(mine, disk):
    place, remount = disk("100m")
    mine.run("dvc", "remote", "modify", "--local", "cold", "url", str(place / "cold"))
    mine.luna("new")  # while there was room: with less it would not even start
    remount("size=2m")
    done = mine.luna("evolve", code=2)
    assert "disk is full" in done.stderr or "No space left" in done.stderr
    assert mine.json("log") == [] and mine.git("tag") == ""
    assert not list(place.rglob("*.tmp"))
    remount("size=100m")
    mine.luna("evolve")
    assert [row["gen"] for row in mine.json("log")] == [0, 1]


def test_a_full_disk_under_the_workspace(mine, disk):
    place, remount = disk("100m")
    mine.edit_params(("min_free_gb: 1.0", "min_free_gb: 0"))
    mine.commit("start anyway")
    shutil.copytree(mine.path, place / "luna", symlinks=True)
    repo = Repo(place / "luna")
    repo.luna("new")  # while there was room: with less it would not even start
    remount("size=9m")
    done = repo.luna("evolve", code=None)
    assert done.returncode in (1, 2), done.stdout
    said = done.stderr + done.stdout
    assert "disk is full" in said or "No space left" in said, said[-2000:]
    assert repo.git("tag") == ""
    remount("size=500m")
    repo.luna("evolve")
    assert [row["gen"] for row in repo.json("log")] == [0, 1]


def full(done: subprocess.CompletedProcess[str]) -> bool:
    return "disk is full" in done.stderr or "No space left" in done.stderr


def test_archive_to_a_full_and_to_a_read_only_disk(line, tmp_path, disk):
    repo = line.copy(tmp_path / "mine")
    place, remount = disk("12m")
    repo.dvc("remote", "add", "--local", "second", str(place / "second"))
    assert full(repo.luna("archive", "--all", "--remote", "second", code=2))
    assert not list(place.rglob("*.tmp"))
    remount("size=100m,ro")
    done = repo.luna("archive", "--all", "--remote", "second", code=2)
    assert "Read-only" in done.stderr or "cannot be written" in done.stderr
    remount("rw")
    assert len(repo.json("archive", "--all", "--remote", "second")) == 4


def test_a_full_disk_under_the_cache_and_under_a_bundle(line, tmp_path, disk):
    repo = line.copy(tmp_path / "mine")
    place, remount = disk("7m")
    repo.dvc("cache", "dir", "--local", str(place / "cache"))
    before = repo.references()
    assert full(repo.luna("restore", "1", code=2))
    assert not list(place.rglob("*.tmp"))
    remount("size=100m")
    repo.luna("restore", "1")
    small, enlarge = disk("3m")
    assert full(repo.luna("bundle", "1", "-o", str(small / "b.zip"), code=2))
    assert list(small.iterdir()) == []
    enlarge("size=50m")
    repo.luna("bundle", "1", "-o", str(small / "b.zip"))
    assert repo.references() == before


def test_a_clock_set_back_keeps_names_and_ledger_in_order(line, tmp_path):
    """As if the newest generation had been sealed when the clock was far ahead."""
    repo = line.copy(tmp_path / "mine")
    repo.git("tag", "-a", "-m", "ahead", "Luna-G004-20991231-235959", "main")
    repo.luna("seal")  # records it
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    assert repo.json("new")["name"] == "Luna-G005-21000101-000000"


def test_a_line_that_another_clone_has_moved_on(line, tmp_path):
    """The second to seal is told before anything is sealed."""
    mine = line.copy(tmp_path / "mine")
    bare = tmp_path / "origin.git"
    mine.push_to(bare)
    mine.luna("seal")
    other = Repo(tmp_path / "other")
    mine.run("git", "clone", "-q", str(bare), str(other.path))
    other.git(
        "-c",
        "user.name=Other",
        "-c",
        "user.email=other@example.com",
        "commit",
        "-q",
        "--no-verify",
        "--allow-empty",
        "-m",
        "sealed elsewhere",
    )
    other.git("push", "-q", "--no-verify", "origin", "main")
    write_jsonl(mine.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    mine.luna("new")
    before = mine.snapshot()
    assert "another clone" in mine.luna("seal", code=2).stderr
    assert mine.snapshot() == before
