"""Verify finds what was damaged and names it; repair mends it from another copy; hooks refuse; and a liar is caught."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Repo, facts, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from luna import ledger
from luna.audit import content
from luna.errors import InputError
from luna.history import record
from luna.repo.git import Git
from tests.faults import flips, places

NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


@pytest.fixture
def mine(line, tmp_path) -> Repo:
    return line.copy(tmp_path / "mine")


def found(repo: Repo, *arguments: str, code: int = 1) -> list[dict]:
    before = repo.snapshot()
    report = json.loads(repo.luna("verify", *arguments, "--json", code=code).stdout)
    assert repo.snapshot() == before
    assert report["clean"] == (code == 0)
    return report["findings"]


def tag_of(repo: Repo, number: int) -> str:
    return next(tag for tag in repo.git("tag").splitlines() if f"-G{number:03d}-" in tag)


def mended(repo: Repo, *arguments: str) -> None:
    """Repaired, whole afterwards, and a second repair finds nothing to do."""
    repo.luna("repair")
    assert found(repo, *arguments, code=0) == []
    assert "nothing to mend" in repo.luna("repair").stdout


def test_a_whole_line_is_whole(mine):
    report = json.loads(mine.luna("verify", "--all", "--remote", "--json").stdout)
    assert report["findings"] == []
    assert len(report["generations"]) == 4
    assert report["bytes_read"] > 20_000_000
    assert {row["tagger"] for row in report["sealed_by"]} == {"Tester <tester@example.com>"}
    assert {row["signer"] for row in report["sealed_by"]} == {None}
    assert found(mine, "G001", "HEAD", "--quick", code=0) == []


@pytest.mark.parametrize("path", ["lineage.csv", "dvc.lock", "params.yaml", "models/hashes.csv"])
def test_a_folder_in_a_file_s_place_is_named_and_put_aside(mine, path):
    (mine.path / path).unlink()
    (mine.path / path).mkdir()
    (mine.path / path / "mine.txt").write_text("mine")
    [finding] = found(mine)
    assert finding["object"] == path and "a folder is in its place" in finding["what"]
    assert "quarantine" in finding["mend"]
    mended(mine)
    kept = mine.path / "quarantine" / path.replace("/", "_") / "mine.txt"
    assert kept.read_text() == "mine"


def test_a_file_in_the_scratch_folder_s_place_is_named(mine):
    shutil.rmtree(mine.path / ".luna")
    (mine.path / ".luna").write_text("mine")
    [finding] = found(mine)
    assert finding["object"] == ".luna" and "move it away" in finding["mend"]
    for call in (("new",), ("repair",), ("seal",), ("repair", "--dry-run")):
        said = mine.luna(*call, code=2).stderr.splitlines()
        assert len(said) == 1 and ".luna is a file" in said[0] and "move it away" in said[0], call
    assert (mine.path / ".luna").read_text() == "mine"


def test_thirty_faults_are_found_named_and_mended(line, tmp_path):
    tally = flips.run(places.prepare(line.path, tmp_path / "flips"), 30, seed=3)
    assert tally.failures == []
    assert tally.count("mended").total() == 30
    assert set(tally.count()) == set(places.KINDS)
    assert tally.table.endswith("| all | 30 | 30 | 30 | 30 |")


def test_hooks_refuse_and_housekeeping_goes_on(mine, tmp_path):
    tag = tag_of(mine, 1)
    for packed in (False, True):
        for refused in (
            ("tag", "-d", tag),
            ("tag", "-f", "-a", "-m", "x", tag, "main"),
            ("update-ref", "-d", f"refs/tags/{tag}"),
            ("update-ref", f"refs/tags/{tag}", "main"),
            ("tag", "-d", "luna#head#1"),
            ("tag", "-d", "luna@v1.0.0"),
            ("update-ref", "-d", record.REF),
            ("update-ref", record.REF, "main"),
        ):
            assert "never changes" in mine.run("git", *refused, code=None).stderr, refused
        if not packed:
            mine.git("pack-refs", "--all", "--prune")
            mine.git("gc", "-q", "--prune=now")
            assert not (mine.path / f".git/refs/tags/{tag}").exists()
    mine.git("tag", "own")
    mine.git("tag", "-d", "own")

    good = (mine.path / "lineage.csv").read_text()
    (mine.path / "lineage.csv").write_text(good.replace(",0.002,", ",0.003,", 1))
    assert "never changes" in mine.run("git", "commit", "-qam", "slip", code=1).stderr
    (mine.path / "lineage.csv").write_text(good)
    mine.git("commit", "-q", "--allow-empty", "-m", "fine")

    mine.git("init", "-q", "--bare", str(tmp_path / "origin.git"))
    mine.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    mine.luna("init")
    mine.git("config", "luna.pushRemote", "origin")
    mine.luna("seal")
    assert mine.git("ls-remote", "origin", record.REF)
    for refused, says in (
        ((f":refs/tags/{tag}",), "neither deleted nor replaced"),
        ((f"+main:refs/tags/{tag}",), "neither deleted nor replaced"),
        (("+main~3:main",), "moved back behind"),
        ((f"+main:{record.REF}",), "would cut"),
    ):
        done = mine.run("git", "push", "origin", *refused, code=1)
        assert says in done.stderr or "back behind" in done.stderr, done.stderr
    mine.git("push", "-q", "origin", "main")
    assert found(mine, "--quick", code=0) == []


def test_tags_moved_deleted_or_copied_behind_the_hooks(mine):
    first, second = tag_of(mine, 1), tag_of(mine, 2)
    original = mine.references()
    mine.git(*NO_HOOKS, "tag", "-d", first)
    mine.git(*NO_HOOKS, "tag", "-f", "-a", "-m", "mine", second, "main")
    mine.git(*NO_HOOKS, "update-ref", "refs/tags/Luna-GHEAD", f"{second}^{{commit}}")
    mine.git(*NO_HOOKS, "tag", "-a", "-m", "x", "Luna-G001-20200101-000000", "main")
    mine.git("gc", "-q", "--prune=now")
    said = {finding["object"]: finding["what"] for finding in found(mine, "--quick")}
    assert "deleted" in said[first]
    assert "moved" in said[second]
    assert "without a record" in said["Luna-GHEAD"]
    assert "second tag" in said["Luna-G001-20200101-000000"]
    mine.git(
        "tag", "-d", "Luna-G001-20200101-000000"
    )  # the record does not know it: the hook lets it go
    mended(mine, "--quick")
    rows = {row.split()[0]: row for row in mine.references().splitlines()}
    assert all(rows[row.split()[0]] == row for row in original.splitlines() if "GHEAD" not in row)
    assert mine.git("rev-parse", f"refs/quarantine/{second}/0")


def test_a_bit_in_a_packed_name_leaves_no_other_reference_behind(mine):
    """Also where the name stays in order, and a tag of one's own beside it is left alone."""
    mine.git("tag", "luna@v9.0.0x", "HEAD")
    mine.git("pack-refs", "--all")
    path = mine.path / ".git/packed-refs"
    for was, now in (
        (b"refs/tags/luna@v1", b"refs/\xf4ags/luna@v1"),
        (b"refs/tags/luna@v3.0.0", b"refs/tags/luna@v3.0.8"),
    ):
        before, text = (
            [
                row
                for row in mine.references().splitlines()
                if not row.startswith("refs/quarantine/")
            ],
            path.read_bytes(),
        )
        assert text.count(was) == 1
        path.write_bytes(text.replace(was, now))
        assert "luna@v" in mine.luna("verify", code=1).stdout
        mended(mine)
        assert [
            row for row in mine.references().splitlines() if not row.startswith("refs/quarantine/")
        ] == before
        mine.git("pack-refs", "--all")


def test_the_heads_own_tag_is_made_anew_from_the_record(mine):
    object_id, commit = (
        mine.git("rev-parse", "refs/tags/Luna-GHEAD"),
        mine.git("rev-parse", "Luna-GHEAD^{commit}"),
    )
    path = mine.path / ".git/objects" / object_id[:2] / object_id[2:]
    damage(path, path.read_bytes()[:-9])
    assert [finding["object"] for finding in found(mine) if len(finding["object"]) == 40] == [
        object_id
    ]
    mended(mine)
    assert mine.git("rev-parse", "Luna-GHEAD^{commit}") == commit
    assert (mine.path / f"quarantine/git-{object_id}").exists()


def test_a_record_rewritten_or_lost(mine):
    tag = tag_of(mine, 2)
    mine.git(*NO_HOOKS, "update-ref", "-d", record.REF)
    [finding] = found(mine, "--quick")
    assert finding["kind"] == "record"
    assert "missing" in finding["what"]
    mended(mine, "--remote", "--quick")

    # Whoever moves a tag and rewrites git's record to match is given away by cold storage, and by the later seals.
    mine.git(*NO_HOOKS, "tag", "-f", "-a", "-m", "Verdict: promoted", tag, "main")
    mine.git(*NO_HOOKS, "update-ref", "-d", record.REF)
    record.complete(Git(mine.path))
    kinds = {finding["kind"] for finding in found(mine, "--remote", "--quick")}
    assert "record in cold storage" in kinds
    assert "record" in kinds
    assert (
        "CANNOT MEND" in mine.luna("repair", code=1).stdout
    )  # two histories: a person must say which is true


def test_a_clone_goes_on_with_the_record_and_none_begins_anew(mine, tmp_path):
    bare, clone = tmp_path / "origin.git", Repo(tmp_path / "clone")
    mine.push_to(bare)
    mine.luna("init")
    mine.luna("seal")
    mine.run("git", "clone", "-q", str(bare), str(clone.path))
    clone.dvc("remote", "add", "--local", "--default", "cold", str(mine.cold))
    assert clone.run("git", "rev-parse", "--verify", "-q", record.REF, code=1).stdout == ""
    # The cache is empty and git's record was not fetched: cold storage and the seals say so, and nothing is damaged.
    findings = found(clone, "--remote", code=0)
    assert {finding["severity"] for finding in findings} == {"note"}
    assert {finding["kind"] for finding in findings} >= {"object", "record"}
    clone.luna("init")
    assert clone.git("rev-parse", record.REF) == mine.git("rev-parse", record.REF)
    clone.git("config", "user.name", "Other")
    clone.git("config", "user.email", "other@example.com")
    clone.git("config", "luna.pushRemote", "origin")
    clone.luna("rollback", "G001", "--reason", "from the clone", "--stay")
    mine.git("fetch", "-q", "origin")
    assert mine.git("rev-parse", record.REF) == clone.git("rev-parse", record.REF)
    assert found(mine, "--remote", "--quick", code=0) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("\n", "\r\n"), "CRLF"),
        (
            lambda text: text.replace("eval_recall,eval_generalize", "eval_generalize,eval_recall"),
            "columns were reordered",
        ),
        (
            lambda text: text.replace("0.5842", "0.58"),
            "generation 0, eval_tone: '0.5842' became '0.58'",
        ),
        (
            lambda text: "".join([*text.splitlines(True)[:1], *text.splitlines(True)[:0:-1]]),
            "rows were reordered",
        ),
        (lambda text: "".join(text.splitlines(True)[:-1]), "row of generation 3 is gone"),
        (
            lambda text: text + text.splitlines()[-1].replace("3,", "9,", 1) + "\n",
            "row of generation 9 was added",
        ),
        (lambda text: "\ufeff" + text, "byte order mark"),
        (lambda text: "", "empty"),
    ],
)
def test_a_ledger_edited_by_a_spreadsheet(change, says):
    rows = [
        ledger.Row(
            gen,
            gen - 1 if gen else "base",
            "a" * 64,
            "b" * 64,
            "c" * 64,
            4,
            0.002,
            10.5,
            0.9,
            0.9,
            0.5842,
            70.0,
            True,
            f"2026-11-25T12:0{gen}:00Z",
        )
        for gen in range(4)
    ]
    sealed = ledger.dumps(rows)
    assert says in "; ".join(ledger.differences(sealed, change(sealed)))
    assert ledger.differences(sealed, sealed) == []


def test_the_workspace_comes_back(mine):
    for path in ("lineage.csv", "dvc.lock", "models/hashes.csv"):
        (mine.path / path).write_text((mine.path / path).read_text().replace("\n", "\r\n"))
    said = {finding["object"]: finding["what"] for finding in found(mine, "--quick")}
    assert "CRLF" in said["lineage.csv"]
    assert {"dvc.lock", "models/hashes.csv"} <= set(said)
    dry = mine.luna("repair", "--dry-run").stdout
    assert "would mend" in dry
    assert len(found(mine, "--quick")) == 3
    mended(mine, "--quick")
    assert {path.name for path in (mine.path / "quarantine").iterdir()} == {
        "lineage.csv",
        "dvc.lock",
        "models_hashes.csv",
    }


def damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


def object_of(repo: Repo, path: str, place: Path) -> Path:
    import yaml

    lock = yaml.safe_load((repo.path / "dvc.lock").read_text())
    md5 = next(
        out["md5"]
        for stage in lock["stages"].values()
        for out in stage["outs"]
        if out["path"] == path
    )
    return place / "files/md5" / md5[:2] / md5[2:]


def test_a_store_that_lies(mine, tmp_path):
    """Half a file, wrong bytes, a link that leads elsewhere, nothing at all: each is named, none is followed or believed."""
    model, probes, adapter, delta = (
        object_of(mine, path, mine.cold)
        for path in (
            "models/model.gguf",
            "models/probes.jsonl",
            "models/adapter",
            "models/training_set.jsonl",
        )
    )
    whole = model.read_bytes()
    damage(model, whole[: len(whole) // 2])
    damage(probes, bytes(len(probes.read_bytes())))
    secret = tmp_path / "secret"
    secret.write_bytes(adapter.read_bytes())
    adapter.unlink()
    adapter.symlink_to(secret)
    delta.unlink()
    said = {finding["object"]: finding["what"] for finding in found(mine, "G003", "--remote")}
    name = lambda path: path.parent.name + path.name  # noqa: E731
    assert f"truncated to {len(whole) // 2} of {len(whole)} bytes" in said[name(model)]
    assert "do not match its name" in said[name(probes)]
    assert "symbolic link" in said[name(adapter)]
    assert "missing" in said[name(delta)]
    assert found(mine, "G003", code=0) == []  # the cache is whole
    mended(mine, "--remote")
    assert model.read_bytes() == whole
    assert not adapter.is_symlink()
    assert secret.exists()
    assert len(list((mine.cold / "quarantine").iterdir())) == 3


def test_what_no_copy_is_left_of_is_said_plainly(mine):
    for place in (mine.path / ".dvc/cache", mine.cold):
        path = object_of(mine, "models/answers.jsonl", place)
        damage(path, b"x" + path.read_bytes()[1:])
    (mine.path / "models/answers.jsonl").unlink()
    done = mine.luna("repair", code=1)
    assert done.stdout.count("CANNOT MEND") == 2
    assert "models/answers.jsonl" in done.stdout
    assert not (mine.path / "quarantine").exists()  # what cannot be replaced stays where it is


def test_bad_calls(mine):
    before = mine.snapshot()
    for call, says in (
        (("verify", "G009"), "no generation"),
        (("verify", "$(touch x);`id`"), "no generation"),
        (("verify", "../../etc/passwd"), "no generation"),
        (("verify", "--all", "G001"), "not both"),
        (("verify", "--store", "nowhere"), "nowhere"),
        (("repair", "G009"), "no generation"),
        (("doctor", "--checklist", "G009"), "no generation"),
    ):
        done = mine.luna(*call, code=2)
        assert says in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert mine.snapshot() == before
    assert not (mine.path / "x").exists()


@given(st.text(max_size=40))
def test_no_text_becomes_a_path_out_of_its_folder(text):
    if content.is_inside(text):
        assert Path("/a/b", text).resolve().is_relative_to("/a/b")
    if content.is_name(text):
        assert set(text.removesuffix(".dir")) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "C:/x", "a\\..\\x", "", "x\0y"]
)
def test_paths_that_lead_out(path):
    assert not content.is_inside(path)


def test_the_record_is_a_chain():
    entries = record.extended(
        [],
        [
            (
                f"luna#head#{count}",
                f"object {'0' * 40}\ntype commit\ntag luna#head#{count}\ntagger T <t@x> 1 +0000\n\n{count}\n",
            )
            for count in range(1, 6)
        ],
    )
    text = record.dumps(entries)
    assert record.loads(text) == entries
    chance = random.Random(7)
    for _ in range(300):
        position = chance.randrange(len(text))
        broken = (
            text[:position]
            + chr(ord(text[position]) ^ 1 << chance.randrange(7))
            + text[position + 1 :]
        )
        with pytest.raises(InputError):
            record.loads(broken)
    for lines in (
        text.splitlines(True)[1:],
        [*text.splitlines(True)[:2], *text.splitlines(True)[3:]],
        [text.rstrip("\n")],
    ):
        with pytest.raises(InputError):
            record.loads("".join(lines))


def test_a_signed_seal_says_who(mine, tmp_path):
    key, signers = tmp_path / "key", tmp_path / "signers"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key), "-C", "tester"], check=True
    )
    signers.write_text(f"tester@example.com {key.with_suffix('.pub').read_text()}")
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", str(key)),
        ("tag.gpgSign", "true"),
    ):
        mine.git("config", name, value)
    write_jsonl(mine.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    mine.luna("evolve")
    tag = tag_of(mine, 4)
    assert [finding["severity"] for finding in found(mine, "G004", "--quick", code=0)] == [
        "note"
    ]  # nobody is trusted yet
    mine.git("config", "gpg.ssh.allowedSignersFile", str(signers))
    report = json.loads(mine.luna("verify", "--quick", "--json").stdout)
    assert report["findings"] == []
    assert [row["signer"] for row in report["sealed_by"]] == [
        None,
        None,
        None,
        None,
        "tester@example.com",
    ]
    assert mine.git("verify-tag", tag) == ""
    signers.write_text(
        f"other@example.com {signers.read_text().split(' ', 1)[1].replace('AAAA', 'AAAB', 1)}"
    )
    assert "signature" in {finding["kind"] for finding in found(mine, "G004", "--quick")}


def test_the_doctor_names_traps(mine):
    checks = {check["name"]: check for check in json.loads(mine.luna("doctor", "--json").stdout)}
    assert (
        checks["git hooks"]["state"]
        == checks["record of tags"]["state"]
        == checks["dvc gc"]["state"]
        == "good"
    )
    (mine.path / "clean.sh").write_text("#!/bin/sh\n# dvc gc -w\ndvc gc -f -w -c\n")
    mine.dvc("config", "--local", "cache.type", "copy")
    mine.dvc("remote", "modify", "--local", "other", "access_key_id", "x", code=None)
    (mine.path / ".git/hooks/reference-transaction").unlink()
    mine.git("config", "core.autocrlf", "true")
    checks = {
        check["name"]: check for check in json.loads(mine.luna("doctor", "--json", code=1).stdout)
    }
    assert checks["dvc gc"]["state"] == "bad"
    assert "clean.sh" in checks["dvc gc"]["detail"]
    assert {checks[name]["state"] for name in ("cache.type", "git hooks", "line ends")} == {
        "warning"
    }
    mine.luna("init")
    (mine.path / "clean.sh").write_text("dvc gc -T -c\n")
    assert {
        check["state"]
        for check in json.loads(mine.luna("doctor", "--json").stdout)
        if check["name"] in ("dvc gc", "git hooks")
    } == {"good"}


def test_the_checklist_of_the_design(mine):
    boxes = json.loads(mine.luna("doctor", "--checklist", "G003", "--json").stdout)
    assert len(boxes) == 21
    assert {box["state"] for box in boxes} == {"done", "yours", "not needed"}
    denied = {
        box["text"]: box["state"]
        for box in json.loads(mine.luna("doctor", "--checklist", "2", "--json").stdout)
    }
    assert denied["If FAIL: Keep HEAD at parent, mark gen as failed"] == "done"
    object_of(mine, "models/model.gguf", mine.cold).unlink()
    boxes = {
        box["text"]: box
        for box in json.loads(mine.luna("doctor", "--checklist", "HEAD", "--json", code=1).stdout)
    }
    assert boxes["Verify archive integrity (SHA-256 match)"]["state"] == "open"
    assert "missing" in boxes["Verify archive integrity (SHA-256 match)"]["evidence"]
