"""Folders that are kept beside the generations: immutable, in cold storage, checked, and back as they were."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import Repo, shipped

import luna
from luna import names
from luna.errors import Busy, InputError
from luna.history.line import read_line, sealed_outs
from luna.operations import snapshot, thin
from luna.repo.lock import exclusive
from luna.storage import cold


@pytest.fixture
def memories(tmp_path) -> Path:
    folder = tmp_path / "memories"
    (folder / "sub/é").mkdir(parents=True)
    (folder / "prompt.txt").write_text("You are Luna.\n")
    (folder / "sub/big").write_bytes(os.urandom(300_000))
    (folder / "sub/é/a b.json").write_text("{}")
    (folder / "same").symlink_to("prompt.txt")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def objects(repo: Repo) -> set[str]:
    return {
        path.as_posix()
        for place in (repo.cold, repo.path / ".dvc/cache")
        for path in place.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_kept_and_comes_back(empty, memories, tmp_path):
    repo = empty.copy(tmp_path / "repo")
    files, state = (
        repo.snapshot()[1],
        (repo.git("rev-parse", "HEAD"), repo.git("status", "--porcelain")),
    )
    done = luna.snapshot(memories, "first", "before\nthe move", root=repo.path)
    assert (
        done.created and done.uploaded == 4 and done.snapshot.files == 4
    )  # two files of one content, and the listing
    assert done.snapshot.description == "before the move" and done.snapshot.tag == "snapshot/first"
    assert (
        repo.snapshot()[1] == files
        and (repo.git("rev-parse", "HEAD"), repo.git("status", "--porcelain")) == state
    )
    assert (
        repo.git("cat-file", "-t", "snapshot/first") == "tag"
        and repo.git("log", "--format=%P", "-1", "snapshot/first") == ""
    )

    there = objects(repo)
    assert not luna.snapshot(memories, "first", "before the move", root=repo.path).created
    again = repo.luna("snapshot", str(memories), "--tag", "second", "-m", "the same again").stdout
    assert (
        "0 objects uploaded" in again
        and {
            path
            for path in objects(repo) - there
            if "luna-record" not in path and "luna-git" not in path
        }
        == set()
    )
    assert [item["name"] for item in repo.json("snapshot", "list")] == ["first", "second"]
    assert [item.name for item in luna.snapshots(repo.path)] == ["first", "second"]

    shutil.rmtree(repo.path / ".dvc/cache")
    assert luna.restore_snapshot("first", tmp_path / "back", root=repo.path) == 4
    assert contents(tmp_path / "back") == contents(memories)
    assert (
        "not empty"
        in repo.luna("snapshot", "restore", "first", "--to", str(tmp_path / "back"), code=2).stderr
    )
    assert (
        "there are first, second"
        in repo.luna("snapshot", "restore", "third", "--to", str(tmp_path / "x"), code=2).stderr
    )
    # DVC agrees on what it is, and reads it by itself.
    shutil.copytree(memories, repo.path / "mine")
    repo.dvc("add", "-q", "mine")
    assert done.snapshot.object in (repo.path / "mine.dvc").read_text()
    repo.dvc("get", "-q", ".", "content", "--rev", "snapshot/first", "-o", str(tmp_path / "got"))
    assert contents(tmp_path / "got") == contents(memories)


def test_what_cannot_be_kept_is_said_and_nothing_is_changed(empty, memories, tmp_path):
    repo = empty.copy(tmp_path / "repo")
    luna.snapshot(memories, "taken", "here", root=repo.path)
    before = repo.snapshot(), objects(repo)

    def refused(folder: Path, words: str, tag: str = "new", description: str = "x") -> None:
        with pytest.raises(InputError, match=words) as error:
            luna.snapshot(folder, tag, description, root=repo.path)
        assert "\n" not in str(error.value)

    bad = tmp_path / "bad"
    (bad / "sub").mkdir(parents=True)
    refused(bad, "has no file")
    for place, target in (
        (bad / "out", "/etc/hostname"),
        (bad / "folder", "sub"),
        (bad / "lost", "nowhere"),
        (bad / "sub/up", "../../memories/prompt.txt"),
    ):
        (bad / "file").write_text("x")
        place.symlink_to(target)
        refused(bad, "is a link")
        place.unlink()
    os.mkfifo(bad / "pipe")
    refused(bad, "not a regular file")
    (bad / "pipe").unlink()
    (bad / "a\\b").touch()
    refused(bad, "backslash")
    refused(bad / "file", "is not a folder")
    refused(repo.path, "contains the repository")
    refused(repo.path.parent, "contains the repository")
    refused(repo.path / ".git", "contains the repository")
    refused(memories, "needs a description", description=" \n")
    refused(memories, "already, of 20", tag="taken", description="another description")
    refused(memories, "in case alone", tag="Taken")
    for tag in (
        "",
        "a b",
        "../x",
        "a..b",
        "x.lock",
        "-x",
        "x.",
        "a/b",
        "Luna-G001-20250101-000000",
        "x-GHEAD",
        "a@v1",
    ):
        refused(memories, "cannot be a snapshot's name", tag=tag)
    (memories / "new").write_text("x")
    refused(memories, "never replaced", tag="taken", description="here")
    assert (
        "is called as: luna snapshot list"
        in repo.luna("snapshot", "list", "--tag", "x", code=2).stderr
    )
    with exclusive(repo.path, "evolve"), pytest.raises(Busy, match="'luna evolve'"):
        luna.snapshot(memories, "new", "x", root=repo.path)
    assert (repo.snapshot(), objects(repo)) == before


def test_the_tag_is_guarded_and_damage_is_found_and_mended(empty, memories, tmp_path):
    repo = empty.copy(tmp_path / "repo")
    kept = luna.snapshot(memories, "first", "x", root=repo.path).snapshot
    luna.snapshot(memories / "sub", "other", "x", root=repo.path)
    tag = repo.git("rev-parse", "snapshot/first")
    assert (
        "history and never changes"
        in repo.run("git", "tag", "-d", "snapshot/first", code=None).stderr
    )
    repo.git("tag", "-f", "-a", "-m", "x", "snapshot/first", "main", code=None)
    assert repo.git("rev-parse", "snapshot/first") == tag
    assert "2 snapshots" in repo.luna("verify", "--all", "--remote").stdout

    whole = sealed_outs(repo.path, "snapshot/other")["content"].md5
    repo.git("-c", "core.hooksPath=/dev/null", "tag", "-d", "snapshot/first")
    repo.git(
        "-c", "core.hooksPath=/dev/null", "tag", "-f", "-a", "-m", "x", "snapshot/other", "main"
    )
    [victim] = [
        path
        for path in (repo.cold / "files").rglob("*")
        if path.is_file() and path.stat().st_size == 300_000
    ]
    victim.chmod(0o644)
    victim.write_bytes(b"x" * 300_000)
    (repo.path / f".dvc/cache/files/md5/{whole[:2]}/{whole[2:]}").unlink()
    found = repo.luna("verify", "--all", "--remote", code=1).stdout
    assert "deleted" in found and "moved or made again" in found and "content/sub/big" in found
    repo.luna("repair")
    assert (
        "whole" in repo.luna("verify", "--all", "--remote").stdout
        and repo.git("rev-parse", "snapshot/first") == tag
    )
    assert kept.object in repo.git("cat-file", "tag", "snapshot/first")

    # Cut off between tag and record, the same command goes on.
    repo.git("-c", "core.hooksPath=/dev/null", "update-ref", "-d", "refs/luna/record")
    shutil.rmtree(repo.cold / "luna-record")
    assert (
        "was kept before"
        in repo.luna("snapshot", str(memories), "--tag", "first", "-m", "x").stdout
    )
    assert "whole" in repo.luna("verify", "--all", "--remote").stdout


def test_beside_generations_it_is_kept_archived_pushed_and_never_thinned(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    old = repo.json("log")[1]["name"]
    model = sealed_outs(repo.path, old)["models/model.gguf"].md5
    sealed = repo.path / f".dvc/cache/files/md5/{model[:2]}/{model[2:]}"
    (tmp_path / "given").mkdir()
    shutil.copy(sealed, tmp_path / "given/model.gguf")
    (tmp_path / "given/README.md").write_text("As it was given out.")
    bare = tmp_path / "origin.git"
    repo.git("init", "-q", "--bare", "-b", "main", str(bare))
    repo.git("remote", "add", "origin", str(bare))
    repo.git("config", "luna.pushRemote", "origin")
    done = luna.snapshot(tmp_path / "given", "given", "G001 as it was given out", root=repo.path)
    assert done.pushed_to == "origin"
    assert done.uploaded == 2, "the note and the folder's listing; the model was there"
    assert (
        repo.git(
            "ls-remote", "origin", "refs/tags/snapshot/given", "refs/luna/record", "refs/heads/main"
        ).count("refs/")
        == 2
    )
    there = read_line(repo.path, "Luna")
    assert old not in {
        work.name
        for work in thin.plan(
            repo.path, there, [cold.open_store(repo.path)], shipped("cold", keep="head")
        )
        if work.drop
    }
    repo.luna("gc", "--yes")
    assert sealed.is_file()
    [shown] = repo.json("snapshot", "list")
    assert shown.pop("version") == 1
    assert snapshot.Snapshot(**shown) == done.snapshot
    repo.dvc("remote", "add", "--local", "second", str(tmp_path / "second"))
    assert (
        "snapshot/given: whole in 'second'"
        in repo.luna("archive", "--all", "--remote", "second").stdout
    )
    assert (
        repo.json("status")["generations"] == 4
        and len(repo.json("log")) == 4
        and len(repo.json("log", "--head")) == 3
    )
    assert "4 generations and 1 snapshots" in repo.luna("verify", "--all", "--quick").stdout


def test_names_are_written_in_one_place_and_in_the_hooks():
    from luna.repo import hooks

    for hook in ("reference-transaction", "pre-push"):
        assert f"refs/tags/{names.SNAPSHOTS}*" in (Path(hooks.__file__).parent / hook).read_text()
