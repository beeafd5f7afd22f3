"""A line that was sealed by the first round's code (tests/fixtures/README.md) under the code as it is now."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from conftest import LEFT_OUT, Repo, facts, make_repo, write_jsonl

from bench import project

FIXTURE = Path(__file__).parent / "fixtures/first-round.tar.xz"


@pytest.fixture(scope="module")
def packed(module_folder) -> Path:
    """The line as one git bundle with every reference, and its cold storage."""
    with tarfile.open(FIXTURE) as archive:
        # 'filter' of extractall is not in every Python 3.11.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(module_folder)
    return module_folder


@pytest.fixture(scope="module")
def old(packed) -> Repo:
    """A clone of it in which nothing was restored yet. Copy it before changing it."""
    repo = Repo(packed / "luna")
    repo.path.mkdir()
    repo.git("init", "-q", "-b", "main")
    repo.git("config", "user.name", "Tester")
    repo.git("config", "user.email", "tester@example.com")
    repo.git("fetch", "-q", str(packed / "line.bundle"), "refs/tags/*:refs/tags/*")
    repo.git("fetch", "-q", str(packed / "line.bundle"), "refs/luna/*:refs/luna/*")
    repo.git("fetch", "-q", str(packed / "line.bundle"), "main")
    repo.git("reset", "-q", "--hard", "FETCH_HEAD")
    repo.dvc("remote", "add", "--local", "--default", "cold", str(repo.cold))
    repo.luna("init")
    return repo


def test_it_is_whole_in_cold_storage(old):
    report = old.json("verify", "--all", "--remote")
    assert len(report["generations"]) == 4 and report["clean"], report["findings"]


def test_a_generation_is_rebuilt_bit_for_bit_and_the_head_goes_back_to_it(old, tmp_path):
    mine = old.copy(tmp_path / "mine")
    mine.luna("restore", "G001")
    mine.luna("rebuild", "G001", "--check")
    mine.luna("rollback", "G001", "--reason", "to see that it can")
    row = next(row for row in mine.json("log") if row["gen"] == 1)
    assert row["head"]
    model = hashlib.sha256((mine.path / "models/model.gguf").read_bytes()).hexdigest()
    assert model == row["weights_sha256"]
    mine.luna("export", "G001", "--to", str(tmp_path / "out"), "--ollama")
    assert row["weights_sha256"] in (tmp_path / "out/README.md").read_text()


def test_it_grows_under_the_code_of_today(old, tmp_path):
    """Its base's source is long gone: the line keeps the base itself."""
    mine = old.copy(tmp_path / "mine")
    base = mine.run("git", "show", "HEAD:params.yaml").stdout.partition("source: ")[2].split()[0]
    assert not Path(base).exists()
    fresh = make_repo(tmp_path / "new", Path(base), facts("harbour", range(12)))
    for name in ("luna", "stages", "evals"):
        shutil.rmtree(mine.path / name)
    project.copy(
        mine.path,
        without=(*LEFT_OUT, "params.yaml", "lineage.csv", ".dvc/config"),
    )
    new_params = (fresh.path / "params.yaml").read_text().partition("\ndata:")[2]
    old_head = mine.path.joinpath("params.yaml").read_text().partition("\ndata:")[0]
    old_head = old_head.replace("\ngeneration:", "  keyframe_every: 2\n\ngeneration:", 1)
    (mine.path / "params.yaml").write_text(f"{old_head}\ndata:{new_params}")
    mine.commit("Luna's code of today")
    write_jsonl(mine.path / "data/conversations/third.jsonl", facts("valley", range(4)))
    mine.luna("evolve")
    assert [row["parent"] for row in mine.json("log")] == ["base", 0, 1, 1, 3]
    assert mine.json("verify", "--all", "--remote")["clean"]

    # What was rounded after each adapter stays so, and is what the sums of today begin at.
    made = json.loads(mine.git("show", "HEAD:models/build.json"))
    keyframe = mine.json("log")[3]["name"]
    assert (made["merge_rule"], made["keyframe"]["name"]) == (2, keyframe)
    assert (made["keyframe"]["rule"], made["keyframe"]["before"]) == (1, None)
    mine.luna("rebuild", "3", "--out", str(tmp_path / "third"))
    for name in ("3", "4"):
        assert mine.json("rebuild", name, "--check")["same"]
    weights = [tmp_path / "third/weights", mine.path / "models/keyframe"]
    assert len({(folder / "model.safetensors").read_bytes() for folder in weights}) == 1
