"""What a host application gets from luna.age_up where nothing is built; what is built is in test_week.py."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from conftest import BIN, facts, write_jsonl

import luna
from luna import age_up
from luna.errors import InputError, LunaError
from luna.repo.lock import exclusive


def test_importing_luna_loads_nothing():
    seen = "import sys, luna; print([name for name in sys.modules if name.startswith('luna.') or name in ('yaml', 'pydantic', 'dvc', 'torch')])"
    assert (
        subprocess.run(
            [sys.executable, "-c", seen], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
    assert all(callable(getattr(luna, name)) for name in luna.__all__)
    with pytest.raises(AttributeError):
        luna.nothing  # noqa: B018


def test_too_little_karma_is_a_result_and_changes_nothing(empty, tmp_path, capfd):
    repo = empty.copy(tmp_path / "repo")
    before = repo.snapshot()
    done = asyncio.run(asyncio.to_thread(age_up, repo.path))
    assert (done.outcome, done.karma, done.required, done.missing, done.left, done.head) == (
        "refused",
        3,
        100,
        97,
        3,
        None,
    )
    assert "karma 3 of 100, 97 missing" in repo.luna("age-up", code=1).stdout
    assert json.loads(repo.luna("age-up", "--json", code=1).stdout) == {
        "version": 1,
        "event": "age-up",
        **vars(done),
    }
    write_jsonl(
        repo.path / "data/inbox/praised.jsonl", [facts("praise", range(1))[0] | {"karma": 96.5}]
    )
    write_jsonl(
        repo.path / "data/inbox/worthless.jsonl", [facts("noise", range(1))[0] | {"karma": 0}]
    )
    assert age_up(repo.path).missing == 0.5
    for path in (repo.path / "data/inbox").iterdir():
        path.unlink()
    (repo.path / "data/inbox").rmdir()
    assert repo.snapshot() == before and capfd.readouterr() == ("", "")


def test_while_another_command_works_the_result_says_so(empty, tmp_path):
    repo = empty.copy(tmp_path / "repo")
    repo.edit_params(("karma_required: 100", "karma_required: 3"))
    with exclusive(repo.path, "seal"):
        done = age_up(repo.path)
        assert (done.outcome, done.missing) == ("busy", 0) and "'luna seal'" in done.by
        assert "in use by 'luna seal'" in repo.luna("age-up", code=2).stderr


@pytest.mark.parametrize("karma", ["-1", '"much"', "true", "NaN"])
def test_karma_that_is_no_number_names_file_and_line(empty, tmp_path, karma):
    repo = empty.copy(tmp_path / "repo")
    bad = repo.path / "data/conversations/second.jsonl"
    bad.write_text(
        '{"instruction": "a", "output": "b"}\n'
        f'{{"instruction": "c", "output": "d", "karma": {karma}}}\n'
    )
    before = repo.snapshot()
    with pytest.raises(
        InputError, match="second.jsonl line 2: 'karma' must be a number of at least 0"
    ):
        age_up(repo.path)
    assert repo.snapshot() == before


def test_what_goes_wrong_in_the_build_is_the_build_s_own_sentence(empty, tmp_path):
    repo = empty.copy(tmp_path / "repo")
    repo.edit_params(("karma_required: 100", "karma_required: 3"))
    before = repo.snapshot()
    events = []
    with pytest.raises(LunaError, match="no-base"):
        age_up(repo.path, events.append)
    assert [event["event"] for event in events] == ["started"] and repo.snapshot() == before
    # A program that stops listening does not end the command.
    with subprocess.Popen(
        [BIN / "luna", "age-up", "--json"],
        cwd=repo.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert (
        process.returncode == 2
        and "no-base" in said
        and "Traceback" not in said
        and "BrokenPipe" not in said
    )
    with pytest.raises(LunaError, match="not inside a git repository"):
        age_up(tmp_path)
