"""What a stage runs, reads and writes: dvc.yaml names its code and parameters, and it writes through no file that exists."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import SOURCE, Repo, facts, write_jsonl

from luna import artifacts, files, params
from luna.errors import InputError
from luna.history.line import declared_outs

SEALED = b"bytes of a sealed object"


def outputs(repo: Repo, stage: str) -> list[Path]:
    """The files that a stage makes, those in its folders too."""
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
    beside = sealed.with_name(
        "link"
    )  # moved in place in one step: a stage never sees no file at all

    def link() -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                if not (path.exists() and path.samefile(sealed)):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    beside.unlink(missing_ok=True)
                    os.link(sealed, beside)
                    beside.replace(path)

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


#: Runs a stage as DVC does, and notes which sections of params.yaml it asks for.
RUN = """
import json, runpy, sys
from pathlib import Path
from luna import params
sections, asked = params.sections, []
class Recording:
    def __init__(self, whole):
        self.__dict__["whole"] = whole
    def __getattr__(self, name):
        asked.append(name)
        return getattr(self.__dict__["whole"], name)
params.sections = lambda *names, **options: Recording(sections(*names, **options))
try:
    runpy.run_module(sys.argv[2], run_name="__main__")
finally:
    Path(sys.argv[1]).write_text(json.dumps(asked))
"""
#: Python runs it at every start, in the stage and in each process that the stage starts: it notes the modules at the end.
NOTING = """
import atexit, json, os, sys
from pathlib import Path
def note():
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    Path(os.environ["NOTES"], f"modules-{os.getpid()}.json").write_text(json.dumps([name for name in loaded if name]))
atexit.register(note)
"""


@dataclass(frozen=True)
class Ran:
    """What one stage did: whether a linked file was written through, which of Luna's files it loaded, which parameters it asked for."""

    sealed: bytes
    loaded: set[Path]
    asked: set[str]


@pytest.fixture(scope="module")
def ran(built, module_folder) -> dict[str, Ran]:
    """Each stage, run once more by itself with files linked in its way."""
    repo = built.copy(module_folder / "mine")
    kept = module_folder / "kept"
    shutil.copytree(repo.path / "models", kept)
    sealed = module_folder / "sealed"
    sealed.write_bytes(SEALED)
    sealed.chmod(0o444)  # which holds back nobody who is root
    (module_folder / "start").mkdir()
    (module_folder / "start/sitecustomize.py").write_text(NOTING)
    (module_folder / "run.py").write_text(RUN)
    found = {}
    for stage in STAGES:
        notes = module_folder / stage
        notes.mkdir()
        env = os.environ | {
            "PYTHONPATH": f"{SOURCE}{os.pathsep}{module_folder / 'start'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "NOTES": str(notes),
        }
        paths = outputs(repo, stage)
        assert paths
        with linked_in_the_way(sealed, paths):
            done = subprocess.run(
                [
                    sys.executable,
                    "-P",
                    module_folder / "run.py",
                    notes / "asked.json",
                    f"stages.{stage}",
                ],
                cwd=repo.path,
                env=env,
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, done.stderr[-3000:]
        modules = {
            Path(name).resolve()
            for path in notes.glob("modules-*.json")
            for name in json.loads(path.read_text())
        }
        found[stage] = Ran(
            sealed.read_bytes(),
            {path for path in modules if is_ours(path)},
            set(json.loads((notes / "asked.json").read_text())),
        )
        # Of what was linked later than written there may be something again: the stages that follow read the true files.
        shutil.rmtree(repo.path / "models")
        shutil.copytree(kept, repo.path / "models")
    return found


def is_ours(path: Path) -> bool:
    inside = path.relative_to(SOURCE) if path.is_relative_to(SOURCE) else Path()
    return inside.parts[:1] in (("luna",), ("stages",), ("evals",))


def named_in(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def reachable(start: Path) -> set[Path]:
    """Luna's own files that a file can come to load, also in cases that no run shows."""
    found, waiting = set(), [start]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        if path == SOURCE / "luna/__init__.py":
            continue  # what it offers to a host application, no stage asks for
        for name in named_in(path):
            place = SOURCE.joinpath(*name.split("."))
            inside = [
                place.with_suffix(".py"),
                *(up / "__init__.py" for up in (place, *place.parents)),
            ]
            waiting += [file for file in inside if is_ours(file) and file.is_file()]
    return found


def only_says_what_it_is(path: Path) -> bool:
    """An ``__init__.py`` of a docstring alone."""
    return path.name == "__init__.py" and len(ast.parse(path.read_text()).body) <= 1


PIPELINE = yaml.safe_load((SOURCE / "dvc.yaml").read_text())["stages"]
STAGES = tuple(PIPELINE)


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_writes_into_a_file_that_exists(ran, stage):
    assert ran[stage].sealed == SEALED


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_names_all_code_that_a_stage_runs_and_no_more(ran, stage):
    deps = [SOURCE / path for path in PIPELINE[stage]["deps"]]
    needed = reachable(SOURCE / f"stages/{stage}.py")
    assert len(ran[stage].loaded) > 5
    lacking = {
        path.relative_to(SOURCE).as_posix()
        for path in ran[stage].loaded | needed
        if not any(path == dep or dep in path.parents for dep in deps)
        and not only_says_what_it_is(path)
    }
    assert not lacking
    idle = {
        dep.relative_to(SOURCE).as_posix()
        for dep in deps
        if is_ours(dep)
        and dep not in (SOURCE / "evals/probes", SOURCE / "evals/ability")
        and not any(path == dep or dep in path.parents for path in needed)
    }
    assert not idle


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_names_the_parameters_that_a_stage_asks_for_and_no_more(ran, stage):
    assert ran[stage].asked == set(PIPELINE[stage].get("params", []))
    assert "params.load" not in (SOURCE / f"stages/{stage}.py").read_text()


def test_what_dvc_keeps_is_named_once_and_ignored_by_the_project_itself():
    """DVC's own lines in models/.gitignore are gone while it builds, and stay so after a kill."""
    stages = yaml.safe_load((SOURCE / "dvc.yaml").read_text())["stages"].values()
    outs = [out for stage in stages for out in stage["outs"]]
    kept = {Path(out) for out in outs if isinstance(out, str)}
    assert kept == set(artifacts.KEPT_BY_DVC)
    assert {f"/{path.as_posix()}" for path in kept} <= set(
        (SOURCE / ".gitignore").read_text().splitlines()
    )


def test_commands_reports_and_checks_of_history_are_no_part_of_the_pipeline():
    rooms = ("cli", "operations", "audit", "doctor", "forensics", "sharing", "host", "bundle")
    for stage in STAGES:
        files_there = reachable(SOURCE / f"stages/{stage}.py")
        assert not [path for path in files_there if path.relative_to(SOURCE).parts[1:2][0] in rooms]


def test_a_stage_reads_its_own_sections_and_no_other_can_stop_it(tmp_path):
    whole = yaml.safe_load((SOURCE / "params.yaml").read_text())
    whole["train"]["seed"] = 9
    own = {"train": whole["train"], "chat": whole["chat"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(own | {"cold": "nonsense", "strange": 1}))
    settings = params.sections("train", "chat", root=tmp_path)
    assert settings.train.seed == 9 and settings.chat.model_dump() == whole["chat"]
    with pytest.raises(AttributeError):
        settings.cold  # noqa: B018
    (tmp_path / "params.yaml").write_text("train: {sed: 9}\n")
    with pytest.raises(InputError, match="train.sed"):
        params.sections("train", root=tmp_path)


def test_after_an_update_of_luna_a_new_generation_begins_and_the_sealed_ones_stay(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    before = yaml.safe_load((repo.path / "dvc.lock").read_text())["stages"]["base"]["outs"]
    for name in ("luna/model/base.py", "luna/conversations/template.py", "luna/cli/main.py"):
        with (repo.path / name).open("a") as file:
            file.write("# another version\n")
    repo.commit("Luna, updated")
    assert repo.json("status")["building"] is None
    changed = repo.dvc("status")
    assert "luna/model/base.py" in changed and "luna/conversations" in changed
    assert "luna/cli" not in changed
    repo.luna("verify", "--quick")
    # The ancestor is not made again from its source, which may say something else by now, or be gone.
    assert "base: kept" in repo.dvc("repro", "base")
    after = yaml.safe_load((repo.path / "dvc.lock").read_text())["stages"]["base"]["outs"]
    assert after == before
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("valley", range(4)))
    repo.git("restore", "dvc.lock")
    repo.luna("new")
    assert repo.json("status")["building"].startswith("Luna-G004")
    (repo.path / "data/conversations/third.jsonl").unlink()
    for name in ("G001", "G003"):
        tag = next(tag for tag in repo.git("tag", "-l", "Luna-G*").split() if name in tag)
        repo.git("checkout", "-q", "-f", tag)
        assert "up to date" in repo.dvc("status")
        repo.dvc("repro")
        assert "up to date" in repo.dvc("status") and not repo.git("status", "--porcelain", "-uno")


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
