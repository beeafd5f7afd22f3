"""Keyframes: weights that adapters are added to, kept like the base, so that no generation costs more."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import Repo
from hypothesis import given
from hypothesis import strategies as st
from test_rebuild import lose, objects, sha256

from luna.history import keyframes
from luna.history.build import Ancestor, MergeRule
from luna.history.keyframes import MadeOf

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def keyed(built, module_folder) -> Repo:
    """G000 to G003 on the base, two adapters at most, then G004 on the keyframe G003. Copy it before changing it."""
    repo = built.copy(module_folder / "repo")
    repo.luna("seal")
    return repo


def record(repo: Repo, number: int) -> dict:
    name = repo.json("log")[number]["name"]
    return json.loads(repo.git("show", f"{name}:models/build.json"))


def weights_of_keyframe(repo: Repo, number: int) -> str:
    """The object's md5 of the weights in a generation's keyframe."""
    from luna.history.line import sealed_outs
    from luna.storage.objects import listing

    outs = sealed_outs(repo.path, repo.json("log")[number]["name"])
    return listing(repo.path, outs["models/keyframe"].md5)[WEIGHTS]


def test_each_seal_records_the_rule_and_the_keyframe(keyed):
    assert [record(keyed, number)["merge_rule"] for number in range(5)] == [2] * 5
    assert [record(keyed, number)["keyframe"] for number in range(4)] == [None] * 4
    [first, third] = (keyed.json("log")[number]["name"] for number in (1, 3))
    found = record(keyed, 4)["keyframe"]
    assert (found["name"], found["before"], found["rule"]) == (third, None, 2)
    assert [one["name"] for one in found["adapters"]] == [first, third]  # and not the denied one
    assert not list((keyed.path / "models/base").glob("keyframe*"))


def test_what_is_kept_are_the_weights_of_the_keyframe_bit_for_bit(keyed, tmp_path):
    keyed.luna("rebuild", "3", "--out", str(tmp_path / "third"))
    assert sha256(tmp_path / "third/weights" / WEIGHTS) == sha256(
        keyed.path / "models/keyframe" / WEIGHTS
    )
    names = {path.name for path in (keyed.path / "models/base").iterdir()}
    assert {path.name for path in (keyed.path / "models/keyframe").iterdir()} == names


def test_a_generation_comes_back_from_its_keyframe_without_what_lies_before_it(keyed, tmp_path):
    repo = keyed.copy(tmp_path / "mine")
    shared = objects(repo, 4, "models/adapter")  # adapter_config.json says the same in all of them
    for number in (1, 3):
        for md5 in set(objects(repo, number, "models/adapter")).difference(shared):
            lose(repo, md5)
    shutil.rmtree(repo.path / ".dvc/cache")
    assert repo.json("rebuild", "4", "--check")["same"]
    assert "adapter of Luna-G001" in repo.luna("rebuild", "3", "--check", code=2).stderr
    repo.luna("restore", "4")
    repo.dvc("checkout", "--force")
    assert "up to date" in repo.dvc("status")


def test_at_every_tag_dvc_finds_nothing_to_do(keyed, tmp_path):
    repo = keyed.copy(tmp_path / "mine")
    for row in repo.json("log")[3:]:
        repo.git("checkout", "-q", row["name"])
        assert "up to date" in repo.dvc("status")
        assert "Running stage" not in repo.dvc("repro")
        assert (repo.path / "models/keyframe" / WEIGHTS).exists() == (row["gen"] == 4)
        assert repo.git("status", "--porcelain") == ""


def test_its_bytes_are_counted_once_and_verified(keyed, tmp_path):
    repo = keyed.copy(tmp_path / "mine")
    size = (repo.path / "models/keyframe" / WEIGHTS).stat().st_size
    found = repo.json("status", "--storage")
    assert [row["keyframe"] for row in found["generations"]] == [0, 0, 0, 0, size]
    stored = [path for path in (repo.cold / "files").rglob("*") if path.is_file()]
    assert found["stored"] == sum(path.stat().st_size for path in stored)
    assert repo.json("verify", "--remote")["clean"]
    lose(repo, weights_of_keyframe(repo, 4))
    report = json.loads(repo.luna("verify", "--remote", "--quick", "--json", code=1).stdout)
    assert {item["generation"] for item in report["findings"]} == {repo.json("log")[4]["name"]}


def test_a_keyframe_that_is_lost_everywhere_is_made_again_by_repair(keyed, tmp_path):
    repo = keyed.copy(tmp_path / "mine")
    md5 = weights_of_keyframe(repo, 4)
    lose(repo, md5)
    (repo.path / "models/keyframe" / WEIGHTS).unlink()
    assert "a rebuild from base and adapters" in repo.luna("repair").stdout
    for place in (repo.path / ".dvc/cache", repo.cold):
        assert (place / "files/md5" / md5[:2] / md5[2:]).is_file()
    repo.dvc("checkout")
    assert repo.json("verify", "--remote")["clean"]


def test_gc_keeps_what_the_next_generation_is_made_of_and_no_adapter_before_the_keyframe(
    keyed, tmp_path
):
    repo = keyed.copy(tmp_path / "mine")
    repo.luna("gc", "--yes")

    def cached(md5: str) -> bool:
        return (repo.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).exists()

    assert cached(weights_of_keyframe(repo, 4))
    assert all(map(cached, objects(repo, 4, "models/adapter")))
    assert [all(map(cached, objects(repo, number, "models/adapter"))) for number in (1, 3)] == [
        False,
        False,
    ]
    assert "up to date" in repo.dvc("status")


def test_a_seal_refuses_a_keyframe_that_is_not_the_seals(built, tmp_path):
    repo = built.copy(tmp_path / "mine")
    path = repo.path / "models/build.json"
    document = json.loads(path.read_text())
    document["keyframe"]["adapters"] = document["keyframe"]["adapters"][1:]
    path.write_text(json.dumps(document))
    repo.dvc("commit", "--force")
    before = repo.references()
    assert "another keyframe" in repo.luna("seal", code=2).stderr
    assert repo.references() == before


@given(
    every=st.integers(1, 5),
    old=st.integers(0, 6),
    parents=st.lists(st.integers(0, 3), min_size=1, max_size=40),
)
def test_no_generation_is_the_sum_of_more_adapters_than_asked_for(every, old, parents):
    """Whatever is denied or rolled back: each is built on one of the newest four of a line whose first ``old`` had the first rule."""
    chains: list[list[Ancestor]] = []
    made: list[MadeOf] = []
    for number, back in enumerate([0, *parents]):
        parent = max(0, number - 1 - back)
        chain = chains[parent] if number else []
        own = Ancestor(f"G{number}", f"commit {number}")
        first = number < old
        keyframe = None
        if not first and len(chain) > 1:
            keyframe = keyframes.after(made[parent], chain, every)
        names = [one.name for one in [*chain, own]]
        since = names[names.index(keyframe.name) + 1 :] if keyframe else names[1:]
        chains.append([*chain, own])
        made.append(MadeOf(MergeRule.EACH if first else MergeRule.ONCE, keyframe, tuple(since)))
        if first:
            continue
        assert len(since) <= every
        assert all(made[int(one[1:])].rule is MergeRule.ONCE for one in since)
        assert all(made[int(one[1:])].keyframe == keyframe for one in since)
