"""A stage writes beside what stands there and renames: what a checkout links into its way is never written through."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import SOURCE, Repo

from luna import files
from luna.history.line import declared_outs

SEALED = b"bytes of a sealed object"


def outputs(repo: Repo, stage: str) -> list[Path]:
    """The files that a stage makes, those in its folders too."""
    import yaml

    text = yaml.safe_load((repo.path / "dvc.yaml").read_text())["stages"]
    outs = declared_outs(yaml.safe_dump({"stages": {stage: text[stage]}}).encode())
    found = []
    for out in outs:
        path = repo.path / out
        found += (
            [inner for inner in path.rglob("*") if inner.is_file()] if path.is_dir() else [path]
        )
    return [path for path in found if path.name != "lineage.csv"]  # promote reads it


@contextlib.contextmanager
def linked_in_the_way(sealed: Path, paths: list[Path]):
    """As DVC's hook does at a checkout: before the stage begins, and again and again while it runs."""
    ended = threading.Event()

    def link() -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                if not (path.exists() and path.samefile(sealed)):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.unlink(missing_ok=True)
                    os.link(sealed, path)

    def keep_on() -> None:
        while not ended.wait(0.02):
            link()

    link()
    worker = threading.Thread(target=keep_on)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()


def test_no_stage_writes_into_a_file_that_exists(built, tmp_path):
    repo = built.copy(tmp_path / "mine")
    kept = tmp_path / "kept"
    shutil.copytree(repo.path / "models", kept)
    sealed = tmp_path / "sealed"
    sealed.write_bytes(SEALED)
    sealed.chmod(0o444)  # which holds back nobody who is root
    env = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    for stage in ("base", "prep", "train", "export", "evaluate", "promote"):
        paths = outputs(repo, stage)
        assert paths
        with linked_in_the_way(sealed, paths):
            done = subprocess.run(
                [sys.executable, "-P", "-m", f"stages.{stage}"],
                cwd=repo.path,
                env=env,
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, done.stderr[-3000:]
        assert sealed.read_bytes() == SEALED, stage
        # Of what was linked later than written there may be something again: the stages that follow read the true files.
        shutil.rmtree(repo.path / "models")
        shutil.copytree(kept, repo.path / "models")


@pytest.mark.parametrize("before", ["nothing", "file", "link", "folder", "empty"])
def test_a_folder_takes_the_place_of_whatever_stood_there(tmp_path, before):
    out, elsewhere = tmp_path / "models/out", tmp_path / "elsewhere"
    out.parent.mkdir()
    elsewhere.mkdir()
    (elsewhere / "x").write_bytes(SEALED)
    if before == "file":
        out.write_text("old")
    if before == "link":
        out.symlink_to(elsewhere)
    if before in ("folder", "empty"):
        out.mkdir()
    if before == "folder":
        os.link(elsewhere / "x", out / "x")
        (out / "y").write_text("old")
    with files.replacing_folder(out, tmp_path / "scratch") as new:
        (new / "x").write_text("new")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"x": "new"}
    assert (elsewhere / "x").read_bytes() == SEALED
    assert not list((tmp_path / "scratch").iterdir())
    with pytest.raises(RuntimeError), files.replacing_folder(out, tmp_path / "scratch") as new:
        (new / "x").write_text("half")
        raise RuntimeError
    assert (out / "x").read_text() == "new" and not list((tmp_path / "scratch").iterdir())
