"""The loop: batches, tries after a denial, events, the inbox."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from conftest import SOURCE, facts, write_jsonl

from luna import params
from luna.conversations import inbox
from luna.errors import InputError
from luna.operations import notify


def test_a_denial_is_tried_again_then_batches_go_on_and_own_settings_come_back(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("meadow", range(3)))
    notices = tmp_path / "notices.jsonl"
    hook = tmp_path / "hook.py"
    hook.write_text(f"import sys\nopen({str(notices)!r}, 'a').write(sys.stdin.read() + '\\n')\n")
    repo.edit_params(
        ("recall: {minimum: 0.0}", "recall: {minimum: 0.9}"),
        ("batch_size: 0 ", "batch_size: 3 "),
        ("retry: []", "retry: [{max_steps: 3, replay_samples: 5}]"),
        ("notify: {}", f"notify: {{command: {sys.executable} {hook}}}"),
    )
    done = repo.luna("evolve", "--max", "5", "--json", code=1)
    events = [json.loads(row) for row in done.stdout.splitlines()]
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    rest = ["train", "export", "evaluate", "promote"]
    assert stages == ["prep", "keyframe", *rest, "prep", *rest]  # one parent has one keyframe
    events = [event for event in events if event["event"] != "stage"]
    assert [event["event"] for event in events] == [
        "started",
        "sealed",
        "retry",
        "started",
        "sealed",
        "stopped",
    ]
    assert events[-1]["reason"] == "denied"
    assert [json.loads(row) for row in notices.read_text().splitlines()] == events
    tried = yaml.safe_load(repo.git("show", f"{events[4]['name']}:params.yaml"))
    assert tried["train"]["max_steps"] == 3 and tried["data"]["replay_samples"] == 5
    own = yaml.safe_load((repo.path / "params.yaml").read_text())
    assert (
        own["train"]["max_steps"] == 4
        and own["data"]["replay_samples"] == params.load(SOURCE).data.replay_samples
    )

    repo.edit_params(("recall: {minimum: 0.9}", "recall: {minimum: 0.0}"))
    inbox.add(repo.path, facts("chat", range(1))[0])
    done = repo.luna("evolve", "--max", "9")
    assert "nothing new is left to learn" in done.stdout
    assert not list((repo.path / "data/inbox").iterdir())
    taught = [
        repo.git("show", f"{row.split()[0]}:models/prep.json")
        for row in done.stdout.splitlines()
        if row.startswith("  Luna")
    ]
    assert [json.loads(text)["karma"] for text in taught] == [3.0, 1.0]


def test_too_little_disk_starts_nothing(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    repo.edit_params(("min_free_gb: 1.0", "min_free_gb: 1e9"))
    before = repo.snapshot()
    assert "nothing was started" in repo.luna("evolve", code=2).stderr
    assert repo.snapshot() == before


def test_nothing_invalid_enters_the_inbox_and_nothing_leaves_it_on_an_error(tmp_path):
    for row in (
        {"messages": []},
        {"messages": [{"role": "user", "content": "alone"}]},
        facts("x", range(1))[0] | {"karma": -1},
        facts("x", range(1))[0] | {"karma": "much"},
    ):
        with pytest.raises(InputError, match="not kept"):
            inbox.add(tmp_path, row)
    assert not (tmp_path / "data").exists()
    good = inbox.add(tmp_path, facts("x", range(1))[0])
    bad = good.with_name("bad.jsonl")
    bad.write_text("{")
    with pytest.raises(InputError, match="bad.jsonl line 1"):
        inbox.take_in(tmp_path)
    assert good.exists() and bad.exists()
    bad.unlink()
    assert inbox.take_in(tmp_path) == 1 and inbox.take_in(tmp_path) == 0
    assert len(list((tmp_path / "data/conversations").glob("inbox-*.jsonl"))) == 1


def test_a_notice_that_fails_is_a_sentence(tmp_path):
    assert "did not run" in notify.tell(tmp_path, "/no/such/command", {"event": "x"})
    assert "ended with 1" in notify.tell(
        tmp_path, f"{sys.executable} -c 'raise SystemExit(1)'", {"event": "x"}
    )
    assert notify.tell(tmp_path, None, {}) is None


def test_an_unknown_setting_of_a_try_is_an_error():
    with pytest.raises(InputError, match="retry"):
        params.parse({"retry": [{"max_stepz": 3}]}, "params.yaml")
