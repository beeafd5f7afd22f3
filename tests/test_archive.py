"""Cold storage for the past, in several places, and on a real S3 server: outages, resuming, locks, and no secret anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import BIN, Repo, facts, write_jsonl

from luna.storage import cold
from luna.storage.s3 import object_lock_warning
from tests.faults import flips, places
from tests.faults.s3server import Server


@pytest.fixture
def mine(line, tmp_path) -> Repo:
    return line.copy(tmp_path / "mine")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("s3"))
    found.start()
    yield found
    found.kill()


def clear_cache(repo: Repo) -> None:
    shutil.rmtree(repo.path / ".dvc/cache")


def stored(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / "files").rglob("*"))
        if path.is_file()
    }


def test_a_remote_added_later_receives_every_generation(mine):
    """Also where the cache is empty: then from the other store, and the cache stays as small as it was."""
    second = mine.path.parent / "second"
    mine.dvc("remote", "add", "--local", "second", str(second))
    assert "Say which" in mine.luna("archive", code=2).stderr
    assert "no generation '9'" in mine.luna("archive", "9", code=2).stderr
    assert "No cold storage" in mine.luna("archive", "--all", "--remote", "nowhere", code=2).stderr
    clear_cache(mine)
    first = mine.json("archive", "G001", "--remote", "second")
    assert [(item["store"], item["objects"] == item["uploaded"]) for item in first] == [
        ("second", True)
    ]
    assert all(
        path.suffix == ".dir"
        for path in (mine.path / ".dvc/cache/files").rglob("*")
        if path.is_file()
    )
    done = mine.json("archive", "--all", "--remote", "second")
    assert [item["name"] for item in done] == [row["name"] for row in mine.json("log")] and done[1][
        "uploaded"
    ] == 0
    assert stored(second) == stored(mine.cold)
    # What lies there is believed only after reading.
    victim = max((second / "files").rglob("*"), key=lambda path: path.stat().st_size)
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert (
        "returns other bytes" in mine.luna("archive", "--all", "--remote", "second", code=2).stderr
    )
    assert victim.exists()


def test_an_old_tags_remote_is_not_asked(mine):
    """The trap of 'dvc push --all-tags': the tag's own configuration knows another remote, or none."""
    clear_cache(mine)
    mine.cold.rename(mine.cold.with_name("moved"))
    mine.run("dvc", "remote", "modify", "--local", "cold", "url", str(mine.cold.with_name("moved")))
    assert len(mine.json("archive", "--all")) == 4 and not mine.cold.exists()


def test_any_store_brings_a_generation_back(mine):
    mine.luna("cold", str(mine.path.parent / "second"), "--name", "second")
    mine.edit_params(("remotes: []", "remotes: [cold, second]"), ("copies: 1", "copies: 2"))
    assert {item["store"] for item in mine.json("archive", "--all")} == {"cold", "second"}
    clear_cache(mine)
    for path in (mine.cold / "files").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"")
    for number in range(4):
        mine.luna("restore", str(number))


def test_two_copies_need_two_remotes(mine):
    mine.edit_params(("copies: 1", "copies: 2"))
    assert "cold.remotes" in mine.luna("status").stdout
    assert "cold.remotes" in mine.luna("new", code=2).stderr


def in_s3(server: Server, repo: Repo, bucket: str) -> dict[str, str]:
    server.client().create_bucket(Bucket=bucket)
    server.serve(repo.path, bucket)
    return server.environment()


def test_s3_archive_outage_resume_and_pull(mine, server, tmp_path):
    """The server is killed in mid-upload; the same command goes on; a clone that knows only the bucket gets all."""
    env = in_s3(server, mine, "outage")
    before = mine.references()
    full = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"} | env
    process = subprocess.Popen(
        ["luna", "archive", "--all", "--remote", "s3"],
        cwd=mine.path,
        env=full,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    client = server.client()
    while client.list_objects_v2(Bucket="outage", MaxKeys=3)["KeyCount"] < 3:
        assert process.poll() is None, process.communicate()
    server.kill()
    said = process.communicate()
    assert (
        process.returncode == 2 and "cold storage 's3'" in said[1] and "Traceback" not in said[1]
    ), said
    assert mine.references() == before
    server.start()
    done = mine.luna("archive", "--all", "--remote", "s3", env=env)
    assert (
        done.stdout.count("whole in 's3'") == 4
        and ", 0 uploaded" not in done.stdout.splitlines()[-1]
    )
    clone = Repo(tmp_path / "luna")
    mine.run("git", "clone", "-q", str(mine.path), str(clone.path))
    server.serve(clone.path, "outage")
    clone.dvc("remote", "default", "--local", "s3")
    row = clone.json("log")[1]
    clone.git("checkout", "-q", row["name"])
    pulled = clone.run("dvc", "pull", "-q", env=env)
    clone.luna("restore", "3", env=env)
    assert "up to date" in clone.dvc("status")
    # The bucket alone brings a whole clone back, git included.
    again = Repo(tmp_path / "again")
    url = f"s3://{cold.open_store(mine.path, 's3').odb.path.removesuffix('/files/md5')}"
    mine.luna("recover", url, str(again.path), "--endpoint", server.url, env=env)
    assert again.references() == mine.references()
    assert "whole" in again.luna("verify", "--all", "--remote", "--quick", env=env).stdout
    # The secret is in no file of any of the repositories and was never said.
    for repo in (mine, clone, again):
        found = subprocess.run(
            ["grep", "-rlF", server.secret, str(repo.path)], capture_output=True, text=True
        )
        assert found.stdout == ""
        packed = repo.run("git", "log", "--all", "-p", "--format=%B").stdout
        assert server.secret not in packed
    assert (
        server.secret
        not in "".join(said) + done.stdout + done.stderr + pulled.stdout + pulled.stderr
    )


def test_faults_in_s3_are_found_named_and_mended(line, server, tmp_path, monkeypatch):
    """A small run of 'python -m bench.flips --s3', in two parts."""
    for key, value in server.environment().items():
        monkeypatch.setenv(key, value)
    place, log = places.prepare(line.path, tmp_path / "flips", server=server), tmp_path / "log"
    first = flips.run(place, 4, 5, (flips.S3,), log, until=0.0)
    assert first.faults == [] and not log.exists()
    assert flips.run(place, 2, 5, (flips.S3,), log).failures == []
    whole = flips.run(place, 4, 5, (flips.S3,), log)
    assert (
        whole.failures == []
        and whole.count("mended").total() == len(log.read_text().splitlines()) == 4
    )


def test_wrong_credentials_are_one_sentence_without_the_secret(mine, server):
    env = in_s3(server, mine, "closed") | {"AWS_SECRET_ACCESS_KEY": "wrong-and-still-secret"}
    done = mine.luna("archive", "3", "--remote", "s3", env=env, code=2)
    assert "cold storage 's3'" in done.stderr and "still-secret" not in done.stderr + done.stdout


def test_sealed_only_when_two_stores_hold_it(mine, server):
    env = in_s3(server, mine, "copies")
    mine.luna("cold", "s3://copies/luna", "--name", "s3", "--endpoint", server.url, env=env)
    mine.edit_params(("remotes: []", "remotes: [cold, s3]"), ("copies: 1", "copies: 2"))
    write_jsonl(mine.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    mine.luna("new", env=env)
    mine.run("dvc", "repro", env=env)
    server.kill()
    try:
        before = mine.references()
        assert "cold storage 's3'" in mine.luna("seal", env=env, code=2).stderr
        assert mine.references() == before
        mine.edit_params(("copies: 2", "copies: 1"))
        shown = mine.luna("seal", env=env)
        assert "luna archive --all" in shown.stderr and "sealed" in shown.stdout
    finally:
        server.start()
    assert "G004" in mine.luna("archive", "4", env=env).stdout


def test_object_lock_is_asked_for_and_holds(mine, server, monkeypatch):
    for key, value in server.environment().items():
        monkeypatch.setenv(key, value)
    env = in_s3(server, mine, "open")
    warning = object_lock_warning(mine.path, "s3")
    assert "COMPLIANCE" in warning and "'open'" in warning
    assert object_lock_warning(mine.path, "cold") is None
    client = server.client()
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    rule = {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
    }
    client.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=rule)
    mine.run("dvc", "remote", "modify", "--local", "s3", "url", "s3://locked/luna")
    assert object_lock_warning(mine.path, "s3") is None
    mine.luna("archive", "0", "--remote", "s3", env=env)
    versions = client.list_object_versions(Bucket="locked")["Versions"]
    largest = max(versions, key=lambda item: item["Size"])
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket="locked", Key=largest["Key"], VersionId=largest["VersionId"])
    # A plain deletion only hides it; the next archive brings it back to sight.
    client.delete_object(Bucket="locked", Key=largest["Key"])
    assert (
        client.head_object(Bucket="locked", Key=largest["Key"], VersionId=largest["VersionId"])[
            "ContentLength"
        ]
        == largest["Size"]
    )
    mine.luna("archive", "0", "--remote", "s3", env=env)
    assert (
        client.head_object(Bucket="locked", Key=largest["Key"])["ContentLength"] == largest["Size"]
    )
