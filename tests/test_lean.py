"""Lean cold storage: thin a line, lose every cache, bring each generation back bit for bit; what cannot be proven stays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess

import pytest
from conftest import BIN, Repo
from test_rebuild import lose, objects, sha256

from luna.history import record
from luna.repo.git import Git
from tests.faults import flips, kills, places


def keep(repo: Repo, rule: str, was: str = "all") -> None:
    repo.edit_params((f"keep: {was}", f"keep: {rule}"))
    repo.commit(f"keep {rule}")


def stored(repo: Repo, generation: int) -> bool:
    [md5] = objects(repo, generation, "models/model.gguf")
    return (repo.cold / "files/md5" / md5[:2] / md5[2:]).exists()


def store(repo: Repo) -> dict[str, bytes]:
    return {
        path.relative_to(repo.cold).as_posix(): path.read_bytes()
        for path in repo.cold.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def lean(line, module_folder) -> Repo:
    """The line with nothing but the head's GGUF in cold storage. Copy it before changing it."""
    repo = line.copy(module_folder / "repo")
    keep(repo, "head")
    planned = repo.json("thin", "--dry-run")["steps"]
    before = store(repo)
    steps = repo.json("thin")["steps"]
    assert planned == steps and [step["action"] for step in steps] == ["thinned"] * 3
    gone = before.keys() - store(repo).keys()
    assert len(gone) == 3 and sum(step["bytes"] for step in steps) == sum(
        len(before[name]) for name in gone
    )
    return repo


def test_thinning_keeps_all_else_and_says_so_in_store_and_git(lean):
    assert [stored(lean, generation) for generation in range(4)] == [False, False, False, True]
    for row in lean.json("log")[:3]:
        record = lean.git("show", f"main:attestations/{row['name']}/thinned.json")
        assert (
            row["weights_sha256"] in record
            and record.strip() == (lean.cold / f"thinned/{row['name']}.json").read_text().strip()
        )
    assert lean.git("status", "--porcelain") == "" and "up to date" in lean.dvc("status")
    before = lean.snapshot(), store(lean)
    assert "follows the rule already" in lean.luna("thin").stdout
    assert (lean.snapshot(), store(lean)) == before


def test_storage_is_counted_to_the_byte(lean):
    found = lean.json("status", "--storage")
    assert found["stored"] == sum(
        len(content) for name, content in store(lean).items() if name.startswith("files/")
    )
    assert [row["lean"] for row in found["generations"]] == [True, True, True, False] and not any(
        row["missing"] for row in found["generations"]
    )
    assert found["whole"] - found["stored"] == sum(row["model"] for row in found["generations"][:3])
    weights = (lean.path / "models/base/model.safetensors").stat().st_size
    assert found["plain_dvc"] >= found["whole"] + 3 * weights
    assert "rebuilt on demand" in lean.luna("status", "--storage").stdout


def test_every_generation_comes_back_bit_for_bit_in_a_clone_without_cache(lean, tmp_path):
    clone = Repo(tmp_path / "luna")
    lean.run("git", "clone", "-q", str(lean.path), str(clone.path))
    clone.dvc("remote", "add", "--local", "--default", "cold", str(lean.cold))
    for row in clone.json("log")[:3]:
        clone.luna("restore", row["name"])
        clone.git("checkout", "-q", row["name"])
        clone.dvc("checkout")
        assert sha256(clone.path / "models/model.gguf") == row["weights_sha256"]
        assert "up to date" in clone.dvc("status")
        assert clone.git("status", "--porcelain") == ""


def test_a_lean_generation_can_become_the_head_and_is_whole_again(lean, tmp_path):
    repo = lean.copy(tmp_path / "mine")
    shutil.rmtree(repo.path / ".dvc/cache")
    repo.luna("restore", "3")
    repo.luna("rollback", "1", "--reason", "it was better")
    assert sha256(repo.path / "models/model.gguf") == repo.json("log")[1]["weights_sha256"]
    assert "git switch main" in repo.luna("thin", code=2).stderr
    repo.git("switch", "-q", "main")
    name = repo.json("log")[1]["name"]
    assert {step["generation"]: step["action"] for step in repo.json("thin")["steps"]} == {
        repo.json("log")[3]["name"]: "thinned",
        name: "whole again",
    }
    assert [stored(repo, generation) for generation in range(4)] == [False, True, False, False]
    assert (
        not (repo.cold / f"thinned/{name}.json").exists()
        and repo.git("ls-tree", "main", f"attestations/{name}/") == ""
    )


def test_gc_leaves_what_cold_storage_does_not_hold(lean, tmp_path):
    repo = lean.copy(tmp_path / "mine")
    kept = [objects(repo, number, "models/model.gguf")[0] for number in range(3)]
    size = sum(
        (repo.path / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}").stat().st_size for md5 in kept
    )
    done = repo.json("gc", "--yes")
    assert (
        done["would_go"]["lean_bytes"] == size
        and done["freed"]["objects"] == done["would_go"]["objects"] > 0
        and done["freed"]["refused"] == []
    )
    assert all((repo.path / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}").exists() for md5 in kept)


def test_kills_and_faults_over_a_thinned_line(lean, tmp_path):
    """Small runs of 'python -m bench.kills --thinned' and 'python -m bench.flips --thinned'."""
    repo = lean.copy(tmp_path / "kills" / "line")
    result = kills.kills(repo.path, 3, 5, {"thin", "restore", "gc"}, thinned=True)
    assert result.faults == [] and len(result.done) == 3
    place = places.prepare(lean.path, tmp_path / "flips", lean=True)
    assert len(place.thinned) == 3
    tally = flips.run(place, 4, 3, (places.CACHE, places.COLD))
    assert tally.failures == [] and tally.count("mended").total() == 4


def test_killed_while_thinning_nothing_is_lost_and_it_goes_on(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    keep(repo, "last:1")
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["luna", "thin"],
        cwd=repo.path,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for text in process.stderr:
        if "G001" in text and "converting" in text:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    rows = repo.json("log")
    assert [stored(repo, generation) for generation in range(4)] == [False, True, True, True]
    assert [path.name for path in (repo.cold / "thinned").iterdir()] == [f"{rows[0]['name']}.json"]
    # A kill just before an object is dropped leaves a record of one that is still there: it is proven again.
    record = json.loads((repo.cold / f"thinned/{rows[0]['name']}.json").read_text())
    (repo.cold / f"thinned/{rows[1]['name']}.json").write_text(
        json.dumps(
            record
            | {"generation": rows[1]["name"], "md5": objects(repo, 1, "models/model.gguf")[0]}
        )
    )
    assert [step["action"] for step in repo.json("thin")["steps"]] == ["thinned", "thinned"]
    assert sorted(path.stem for path in (repo.cold / "thinned").iterdir()) == [
        row["name"] for row in rows[:3]
    ]
    assert repo.git("status", "--porcelain") == ""
    # A record that the store has lost is written again from the one in git.
    (repo.cold / f"thinned/{rows[1]['name']}.json").write_text("{")
    repo.luna("thin")
    assert rows[1]["weights_sha256"] in (repo.cold / f"thinned/{rows[1]['name']}.json").read_text()
    assert len(repo.git("ls-tree", "-r", "--name-only", "main", "attestations").splitlines()) == 3
    assert not any(row["missing"] for row in repo.json("status", "--storage")["generations"])


@pytest.mark.parametrize("what", ["models/adapter", "models/base"])
def test_what_cannot_be_rebuilt_from_the_store_is_not_dropped(line, tmp_path, what):
    """Lost or damaged in the store only: the cache could still rebuild it, which proves nothing about the store."""
    repo = line.copy(tmp_path / "mine")
    keep(repo, "head")
    md5 = objects(repo, 1, what)[-1]
    path = repo.cold / "files/md5" / md5[:2] / md5[2:]
    path.chmod(0o644)
    if what == "models/base":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    before = store(repo), repo.references()
    done = repo.luna("thin", code=1)
    after = store(repo)
    assert f"object {md5[:12]}" in done.stdout
    if what == "models/base":
        assert done.stdout.count("not thinned") == 3 and (after, repo.references()) == before
    else:  # generation 0 stands on the base alone
        assert done.stdout.count("not thinned") == 2
        assert [stored(repo, generation) for generation in range(4)] == [False, True, True, True]


def seal_by_hand(repo: Repo, model: bytes) -> str:
    """G004, with G003's adapter and another GGUF than that leads to, as a careless hand might seal it."""
    old = repo.json("log")[3]["name"]
    name = f"{old[:5]}G004-20991231-000000"
    [was] = objects(repo, 3, "models/model.gguf")
    md5 = hashlib.md5(model).hexdigest()
    for place in (repo.path / ".dvc/cache", repo.cold):
        (place / "files/md5" / md5[:2]).mkdir(exist_ok=True)
        (place / "files/md5" / md5[:2] / md5[2:]).write_bytes(model)
    (repo.path / "dvc.lock").write_text((repo.path / "dvc.lock").read_text().replace(was, md5))
    repo.edit_params((f"name: {old}", f"name: {name}"))
    row = (repo.path / "lineage.csv").read_text().splitlines()[-1].split(",")
    with (repo.path / "lineage.csv").open("a") as file:
        file.write(",".join(["4", row[1], hashlib.sha256(model).hexdigest(), *row[3:]]) + "\n")
    repo.commit(name)
    repo.git("tag", "-a", "-m", name, name)
    record.complete(Git(repo.path))
    return name


def test_a_rebuild_that_does_not_match_is_reported_tensor_by_tensor_and_drops_nothing(
    lean, tmp_path
):
    repo = lean.copy(tmp_path / "mine")
    model = bytearray((repo.path / "models/model.gguf").read_bytes())
    model[-4096] ^= 1
    name = seal_by_hand(repo, bytes(model))
    said = repo.luna("rebuild", "4", "--check", code=1).stdout
    assert "NOT the same" in said and said.count("bytes differ") == 1 and ": 1 of " in said
    assert "luna.generation: metadata" in said  # the file says that it is G003
    before = store(repo), repo.references()
    [step] = json.loads(repo.luna("thin", "--json", code=1).stdout)["steps"]
    assert (step["generation"], step["action"]) == (name, "not thinned") and len(
        step["differences"]
    ) == 3
    assert (store(repo), repo.references()) == before
    # Where the recorded file is gone as well, a restore takes nothing that is not the recorded one.
    lose(repo, objects(repo, 4, "models/model.gguf")[0])
    assert "the result differs" in repo.luna("restore", "4", code=2).stderr


def test_every_store_follows_the_rule_by_its_own_proof(line, tmp_path):
    """What one store has lost, another or the cache may have: that frees nothing in the first."""
    repo = line.copy(tmp_path / "mine")
    second = Repo(tmp_path / "mine/second/luna")  # its cold storage is looked at as the first's is
    repo.luna("cold", str(second.cold), "--name", "second")
    repo.edit_params(("remotes: []", "remotes: [cold, second]"), ("copies: 1", "copies: 2"))
    keep(repo, "last:2")
    repo.luna("archive", "--all")
    md5 = objects(repo, 1, "models/adapter")[-1]
    (second.cold / "files/md5" / md5[:2] / md5[2:]).unlink()
    done = repo.luna("thin", "--json", code=1)
    found = {
        (step["generation"][5:9], step["store"]): step["action"]
        for step in json.loads(done.stdout)["steps"]
    }
    assert found == {
        ("G000", "cold"): "thinned",
        ("G000", "second"): "thinned",
        ("G001", "cold"): "thinned",
        ("G001", "second"): "not thinned",
    }
    held = {objects(repo, number, "models/model.gguf")[0]: number for number in range(4)}
    assert sorted(
        held[name] for name in held if (second.cold / "files/md5" / name[:2] / name[2:]).exists()
    ) == [1, 2, 3]
    assert [stored(repo, number) for number in range(4)] == [False, False, True, True]
    repo.luna("repair")
    assert {
        (step["generation"][5:9], step["store"], step["action"])
        for step in repo.json("thin")["steps"]
    } == {("G001", "second", "thinned")}
    repo.luna("verify", "--all", "--remote")


def test_a_rule_that_is_none_is_refused(fresh, tmp_path):
    repo = fresh.copy(tmp_path / "mine")
    for rule in ("some", "last:0", "last"):
        repo.edit_params(("keep: all", f"keep: {rule}"))
        before = repo.snapshot()
        assert "cold.keep" in repo.luna("thin", code=2).stderr
        assert repo.snapshot() == before
        repo.edit_params((f"keep: {rule}", "keep: all"))
    assert repo.json("thin")["steps"] == []
