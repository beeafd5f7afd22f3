"""The command line itself: help, names, versions, logs, Ctrl-C, and JSON."""

from __future__ import annotations

import json
import keyword
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import SOURCE

from luna import __version__, files, stage
from luna.cli import main

#: Cheap calls, each with the section of docs/json.md that names its keys; one line in this order.
CALLS = (
    ("status", ()),
    ("status --storage", ()),
    ("status --waiting", ()),
    ("log", ()),
    ("log --head", ()),
    ("report", ("-o", "../report.html")),
    ("maturity", ()),
    ("diff", ("1", "3")),
    ("blame", ("What is the harbour word number 1?",)),
    ("verify", ()),
    ("repair", ("--dry-run",)),
    ("doctor", ()),
    ("doctor --checklist", ("HEAD",)),
    ("archive", ("1",)),
    ("cold", ()),
    ("gc", ("--dry-run",)),
    ("thin", ("--dry-run",)),
    ("import", ("--dry-run", "data/conversations")),
    ("snapshot", ("evals", "--tag", "one", "-m", "text")),
    ("snapshot list", ()),
    ("snapshot restore", ("one", "--to", "../out")),
    ("bundle", ("1", "-o", "../one.zip")),
    ("bundle --check", ("../one.zip",)),
    ("export", ("1", "--to", "../given")),
    ("restore", ("1",)),
    ("recover", ("../cold", "../again")),
    ("rollback", ("1", "--stay", "--reason", "a test")),
)


@pytest.mark.parametrize("name", main.NAMES)
def test_a_command_lies_in_the_file_of_its_name(name):
    """With _ for -, and _ after a word of Python's own, which cannot be imported."""
    stem = f"{name}_" if keyword.iskeyword(name) else name.replace("-", "_")
    assert (SOURCE / "luna/cli" / f"{stem}.py").is_file() and main.stem(name) == stem


def test_every_file_of_the_command_line_is_a_command_or_a_shared_one():
    files = {path.stem for path in (SOURCE / "luna/cli").glob("*.py")}
    shared = {"__init__", "main", "common", "table", "progress", "events", "docs", "errorlog"}
    assert files - shared == set(map(main.stem, main.NAMES))


@pytest.mark.parametrize("name", main.NAMES)
def test_the_first_line_of_a_command_s_help_fits_into_80_columns(name):
    line = main.summary(name)
    assert 10 < len(line) <= 65 and line.endswith(".")
    assert main.Commands()[name].help.splitlines()[0] == line


def test_help_lists_every_command_under_its_heading():
    done = _luna("--help")
    headings = re.findall(r"^(\S[^:]*):$", done.stdout, re.MULTILINE)
    assert headings == ["Options", *main.GROUPS]
    assert re.findall(r"^  ([a-z][a-z-]+)  ", done.stdout, re.MULTILINE) == list(main.NAMES)
    assert max(map(len, done.stdout.splitlines())) <= 80 and done.stdout.count("...") == 1


@pytest.mark.parametrize(
    ("word", "meant"),
    [("stats", "'status'"), ("history", "'log'"), ("histroy", "'log'"), ("undo", "'rollback'")],
)
def test_a_wrong_command_names_the_right_one(word, meant):
    done = _luna(word)
    assert done.returncode == 2
    assert f"No such command '{word}'. Did you mean {meant}?" in done.stderr


def test_the_version_is_told():
    assert _luna("--version").stdout == f"luna {__version__}\n"


def test_completion_names_the_commands():
    done = _luna(_LUNA_COMPLETE="complete_bash", COMP_WORDS="luna re", COMP_CWORD="1")
    assert done.stdout.split() == [name for name in main.NAMES if name.startswith("re")]


def test_verbose_logs_the_programs_that_are_run(empty):
    quiet, verbose = empty.luna("status"), empty.luna("-v", "status")
    assert verbose.stdout == quiet.stdout and quiet.stderr == ""
    assert "rev-parse --show-toplevel" in verbose.stderr


def test_ctrl_c_says_that_the_same_command_goes_on(empty, tmp_path):
    """The signal comes while git runs, which is when a person presses it."""
    git = tmp_path / "git"
    git.write_text(f'#!/bin/sh\nkill -INT $PPID\nexec {shlex.quote(shutil.which("git"))} "$@"\n')
    git.chmod(0o755)
    # A shell starts what it puts into the background with Ctrl-C ignored, and so perhaps these tests.
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from luna.cli import main\n"
        "main.main()\n"
    )
    path = os.pathsep.join((str(tmp_path), os.environ["PATH"]))
    done = empty.run(sys.executable, "-c", code, "status", code=130, env={"PATH": path})
    assert done.stderr == "luna: stopped; run the same command again to resume\n"


STAGE = """
import sys
from luna import stage
def main():
    print("begun", flush=True)
    sys.stdin.read()
stage.run("train", main)
"""


def test_status_says_that_a_stage_runs_and_forgets_one_that_was_killed(empty, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    begin = {"cwd": repo.path, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    for kill in (False, True):
        with subprocess.Popen([sys.executable, "-c", STAGE], **begin) as process:
            assert process.stdout.readline() == b"begun\n"
            status = repo.json("status")
            assert status["running"]["stage"] == "train", status
            assert status["running"]["process"] == process.pid
            assert status["running"]["training"] is None  # an earlier one's is not read
            far = {"step": 3, "last": 9, "may_end_sooner": True, "loss": 1.5, "known": None}
            far |= {"seconds_left": 61.0, "memory_gb": 1.25, "curve": [[1, 2.0], [3, 1.5]]}
            files.write_json(repo.path / stage.TRAINING, far)
            status = repo.json("status")
            assert (status["running"]["step"], status["running"]["training"]) == (3, far)
            assert "at step 3 of 9, 2 min left at most (" in repo.luna("status").stdout
            os.utime(repo.path / stage.TRAINING, (1e9, 1e9))
            assert status["next"].startswith("wait")
            assert "running:              the stage train since 20" in repo.luna("status").stdout
            refused = repo.luna("evolve", code=2).stderr
            assert "the stage train since 20" in refused and f"kill {process.pid}" in refused
            if kill:
                process.kill()
        status = repo.json("status")
        assert status["running"] is None and not status["next"].startswith("wait")


def test_a_fault_of_our_own_leaves_a_log_with_versions(empty, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    code = (
        "import sys\n"
        "from luna.cli import main\n"
        "from luna.operations import status\n"
        "def broken(root): raise KeyError('a fault')\n"
        "status.status = broken\n"
        "sys.argv = ['luna', 'status']\n"
        "main.main()\n"
    )
    done = repo.run(sys.executable, "-c", code, code=main.FAULT)
    assert "Traceback" in done.stderr and "KeyError: 'a fault'" in done.stderr
    [log] = (repo.path / ".luna/errors").iterdir()
    assert str(log) in done.stderr.splitlines()[-1]
    text = log.read_text()
    assert f"luna {__version__}" in text and "dvc 3." in text and "KeyError: 'a fault'" in text


def test_the_key_of_a_server_is_not_in_the_log():
    from luna.cli.errorlog import _arguments

    assert _arguments(["serve", "--api-key", "abc", "--port", "1"]) == [
        "serve",
        "--api-key",
        "***",
        "--port",
        "1",
    ]
    assert _arguments(["serve", "--api-key=abc"]) == ["serve", "--api-key=***"]


def test_json_has_a_version_and_the_keys_that_its_page_names(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    sections = _documented()
    for title, arguments in CALLS:
        done = repo.luna(*title.split(), *arguments, "--json", code=None)
        value = json.loads(done.stdout)
        rows = value if isinstance(value, list) else [value]
        assert rows and all(row.pop("version") == 1 for row in rows), title
        assert {key for row in rows for key in row} == sections[title], title


def test_every_command_with_json_is_on_its_page():
    commands = main.Commands()
    with_json = {
        name
        for name in main.NAMES
        if any("--json" in parameter.opts for parameter in commands[name].params)
    }
    assert with_json == {title.split()[0] for title in _documented()}


def _documented() -> dict[str, set[str]]:
    """The keys of each section of docs/json.md: what stands in backquotes before a colon."""
    page = (SOURCE / "docs/json.md").read_text(encoding="utf-8")
    return {
        title: {
            key
            for names in re.findall(r"^- (`.*?`): ", text, re.MULTILINE)
            for key in re.findall(r"`(\w+)`", names)
        }
        for title, text in re.findall(r"^## luna (.*)\n((?:(?!## ).*\n?)*)", page, re.MULTILINE)
    }


def _luna(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "luna", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "80", **env},
        cwd=SOURCE,
    )
