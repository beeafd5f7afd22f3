"""A person's week: three batches, an age-up refused and granted, a denial and its retry, a correction, a rollback."""

from __future__ import annotations

import json

import pytest
import yaml
from conftest import Repo, facts, write_jsonl
from test_chat import talk

from luna import AgeUp, age_up
from luna.history.line import read_line
from luna.operations.retry import next_try
from luna.repo import tag

# Four steps teach the tiny model no voice (a drift of 0.6 and more), eighty do (0.03).
ANY, STRICT = "tone_drift: {maximum: 1.0}", "tone_drift: {maximum: 0.30}"


def sealed(repo: Repo, name: str, path: str) -> dict:
    return yaml.safe_load(repo.run("git", "show", f"{name}:{path}").stdout)


def said(repo: Repo, name: str) -> tuple[str, str]:
    """The karma that a seal names: what it learnt, and what is collected after it."""
    fields = tag.fields(repo.git("tag", "-l", "--format=%(contents)", name))
    return fields["Karma"], fields["Karma-After"]


class Stopped(Exception):
    pass


def test_a_week(line, tmp_path):
    repo = line.copy(tmp_path / "repo")

    def coming() -> int | None:
        return next_try(repo.path, read_line(repo.path, "Luna"))

    def waiting() -> tuple[float, str | None]:
        found = repo.json("status")["pending"]
        return found["karma"], found["folder"]

    for number, kind in enumerate(("meadow", "forest", "desert"), start=14):
        write_jsonl(
            repo.path / f"data/conversations/2026-w{number}/talk.jsonl",
            [row | {"karma": 2} for row in facts(kind, range(5))],
        )
    assert (
        "2026-w14 is a folder, and no folder is read here" in repo.luna("evolve", code=2).stderr
    )  # not read until params.yaml says so
    repo.edit_params(
        ("batches: flat", "batches: folder"),
        ("retry: []", "retry: [{max_steps: 80, learning_rate: 0.006}]"),
        (ANY, STRICT),
        ("max_tokens: 8", "max_tokens: 16"),
        ("save_steps: 2", "save_steps: 100"),
    )

    # Monday. Too little karma; then enough. The host stops it in the middle and asks again, and the rule says no.
    before = repo.snapshot()
    refused = age_up(repo.path)
    assert (refused.outcome, refused.karma, refused.required, refused.missing) == (
        "refused",
        30,
        100,
        70,
    ) and repo.snapshot() == before
    assert "30 of 100, 70 missing" in repo.luna("status").stdout
    repo.edit_params(("karma_required: 100", "karma_required: 20"))
    meanwhile: list[AgeUp] = []

    def stop_at_training(event: dict) -> None:
        if event == {"event": "stage", "stage": "train"}:
            meanwhile.append(age_up(repo.path))
            raise Stopped

    with pytest.raises(Stopped):
        age_up(repo.path, stop_at_training)
    assert meanwhile[0].outcome == "busy" and "luna age-up" in meanwhile[0].by
    unfinished = repo.json("status")["building"]
    events: list[dict] = []
    denied = age_up(repo.path, events.append)
    assert (denied.outcome, denied.generation, denied.karma, denied.left) == (
        "denied",
        unfinished,
        30,
        30,
    ) and denied.head.startswith("Luna-G003-")
    assert [event["event"] for event in events if event["event"] != "stage"] == [
        "started",
        "sealed",
        "stopped",
    ]
    told = [event["stage"] for event in events if event["event"] == "stage"]
    full = ["base", "prep", "keyframe", "train", "export", "evaluate", "promote"]
    assert (
        told and told == full[-len(told) :]
    )  # what was whole when the host stopped it is not made again
    assert sealed(repo, denied.generation, "models/prep.json")["folder"] == "2026-w14"
    assert said(repo, denied.generation) == ("10", "30") and waiting() == (30, "2026-w14")
    assert coming() == 1
    more = repo.path / "data/conversations/2026-w14/more.jsonl"
    write_jsonl(more, facts("extra", range(1)))
    assert coming() == 0  # other conversations: one's own settings were not tried on them
    more.unlink()

    # Tuesday. The next call goes on with the next settings, on the same folder; one's own come back.
    events = [json.loads(row) for row in repo.luna("evolve", "--json").stdout.splitlines()]
    events = [event for event in events if event["event"] != "stage"]
    assert [event["event"] for event in events] == [
        "retry",
        "started",
        "sealed",
        "stopped",
    ] and events[0]["number"] == 1
    tuesday = events[2]["name"]
    assert (
        events[2]["promoted"] and sealed(repo, tuesday, "params.yaml")["train"]["max_steps"] == 80
    )
    assert yaml.safe_load((repo.path / "params.yaml").read_text())["train"]["max_steps"] == 4
    assert said(repo, tuesday) == ("10", "20") and waiting() == (20, "2026-w15") and coming() == 0
    repo.edit_params((STRICT, ANY))

    # Wednesday. She is corrected. What somebody else put into the inbox stops the build and is not lost.
    talk(repo, "What is the harbour word number 1?\n/bad It is tide.\n/quit\n")
    inbox = repo.path / "data/inbox"
    [correction] = inbox.iterdir()
    (inbox / "broken.jsonl").write_text('{"instruction": "half')
    assert "broken.jsonl line 1" in repo.luna("evolve", code=2).stderr
    assert {path.name for path in inbox.iterdir()} == {
        "broken.jsonl",
        correction.name,
    } and repo.json("status")["building"] is None
    (inbox / "broken.jsonl").unlink()
    wednesday = age_up(repo.path)
    assert (wednesday.outcome, wednesday.karma, wednesday.left) == (
        "promoted",
        21,
        10,
    ) and wednesday.head == wednesday.generation
    report = sealed(repo, wednesday.generation, "models/prep.json")
    assert (
        report["folder"],
        report["new_conversations"] + report["held_out"],
        report["karma"],
    ) == ("2026-w15", 6, 11)
    assert (
        f"{correction.stem},6,1"
        in repo.git("show", f"{wednesday.generation}:models/taught.csv").splitlines()
    )
    assert not list(inbox.iterdir()) and said(repo, wednesday.generation) == ("11", "10")

    # Thursday. The rest, whatever it is worth.
    assert age_up(repo.path).missing == 10
    assert "nothing new is left to learn" in repo.luna("evolve", "--max", "5").stdout
    assert waiting() == (0, None) and said(repo, repo.json("status")["head"]) == ("10", "0")

    # Friday. Back to Wednesday: what Thursday had learnt waits again.
    repo.luna("rollback", "6", "--reason", "dull on Thursday", "--stay")
    assert repo.json("status")["head"] == wednesday.generation and waiting() == (10, "2026-w16")
    assert [(row["parent"], row["promoted"]) for row in repo.json("log")[4:]] == [
        (3, False),
        (3, True),
        (5, True),
        (6, True),
    ]
    repo.luna("verify", "--all", "--quick")
