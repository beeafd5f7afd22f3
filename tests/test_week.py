"""A person's week: three batches, an age-up refused and granted, a denial and its retry, a correction, a rollback.

It is lived once, in one repository: a fixture does what is done on a day and writes down what could be seen then, and the
tests look at that. What is sealed stays as it is, so they may look at it at any time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

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
STAGES = ["base", "prep", "keyframe", "train", "export", "evaluate", "promote"]


def sealed(repo: Repo, name: str, path: str) -> dict:
    return yaml.safe_load(repo.run("git", "show", f"{name}:{path}").stdout)


def karma_of(repo: Repo, name: str) -> tuple[str, str]:
    """The karma that a seal names: what it learnt, and what is collected after it."""
    fields = tag.fields(repo.git("tag", "-l", "--format=%(contents)", name))
    return fields["Karma"], fields["Karma-After"]


def coming(repo: Repo) -> int | None:
    """The number of the retry that would be next; 0 for one's own settings."""
    return next_try(repo.path, read_line(repo.path, "Luna"))


def without_stages(events: list[dict]) -> list[dict]:
    return [event for event in events if event["event"] != "stage"]


@dataclass(frozen=True)
class Evening:
    """What the repository says when a day is over: what waits, the next retry, the head."""

    karma: float
    folder: str | None
    retry: int | None
    head: str

    @classmethod
    def of(cls, repo: Repo) -> Evening:
        status = repo.json("status")
        pending = status["pending"]
        return cls(pending["karma"], pending["folder"], coming(repo), status["head"])


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def sunday(line, tmp_path_factory) -> tuple[Repo, str]:
    """Three folders of conversations, and what 'luna evolve' said of them before params.yaml was told to read folders."""
    repo = line.copy(tmp_path_factory.mktemp("week") / "repo")
    for number, kind in enumerate(("meadow", "forest", "desert"), start=14):
        write_jsonl(
            repo.path / f"data/conversations/2026-w{number}/talk.jsonl",
            [row | {"karma": 2} for row in facts(kind, range(5))],
        )
    refusal = repo.luna("evolve", code=2).stderr
    repo.edit_params(
        ("batches: flat", "batches: folder"),
        ("retry: []", "retry: [{max_steps: 80, learning_rate: 0.006}]"),
        (ANY, STRICT),
        ("max_tokens: 8", "max_tokens: 16"),
        ("save_steps: 2", "save_steps: 100"),
    )
    return repo, refusal


@dataclass(frozen=True)
class Morning:
    """Monday before noon: an age-up with too little karma."""

    refused: AgeUp
    changed: bool
    status: str


@pytest.fixture(scope="module")
def morning(sunday) -> Morning:
    repo, _ = sunday
    before = repo.snapshot()
    refused = age_up(repo.path)
    return Morning(refused, repo.snapshot() != before, repo.luna("status").stdout)


@dataclass(frozen=True)
class Monday:
    """With enough karma the host stops it in the middle and asks again, and the rule says no."""

    meanwhile: AgeUp
    unfinished: str
    denied: AgeUp
    events: list[dict]
    evening: Evening
    retry_with_more: int | None


@pytest.fixture(scope="module")
def monday(sunday, morning) -> Monday:
    repo, _ = sunday
    repo.edit_params(("karma_required: 100", "karma_required: 20"))
    meanwhile: list[AgeUp] = []

    def stop_at_training(event: dict) -> None:
        if event == {"event": "stage", "stage": "train"}:
            meanwhile.append(age_up(repo.path))
            raise Stopped

    with pytest.raises(Stopped):
        age_up(repo.path, stop_at_training)
    unfinished = repo.json("status")["building"]
    events: list[dict] = []
    denied = age_up(repo.path, events.append)
    evening = Evening.of(repo)
    more = repo.path / "data/conversations/2026-w14/more.jsonl"
    write_jsonl(more, facts("extra", range(1)))
    retry_with_more = coming(repo)
    more.unlink()
    return Monday(meanwhile[0], unfinished, denied, events, evening, retry_with_more)


@dataclass(frozen=True)
class Tuesday:
    """The same folder again, with the next settings."""

    events: list[dict]
    own_steps: int
    evening: Evening

    @property
    def name(self) -> str:
        return self.events[2]["name"]


@pytest.fixture(scope="module")
def tuesday(sunday, monday) -> Tuesday:
    repo, _ = sunday
    rows = repo.luna("evolve", "--json").stdout.splitlines()
    own = yaml.safe_load((repo.path / "params.yaml").read_text())["train"]["max_steps"]
    evening = Evening.of(repo)
    repo.edit_params((STRICT, ANY))
    return Tuesday(without_stages([json.loads(row) for row in rows]), own, evening)


@dataclass(frozen=True)
class Wednesday:
    """She is corrected, and somebody else puts a broken file into the inbox."""

    correction: str
    refusal: str
    inbox: set[str]
    building: str | None
    grown: AgeUp
    left_in_inbox: list[str]
    evening: Evening


@pytest.fixture(scope="module")
def wednesday(sunday, tuesday) -> Wednesday:
    repo, _ = sunday
    talk(repo, "What is the harbour word number 1?\n/bad It is tide.\n/quit\n")
    folder = repo.path / "data/inbox"
    [correction] = folder.iterdir()
    (folder / "broken.jsonl").write_text('{"instruction": "half')
    refusal = repo.luna("evolve", code=2).stderr
    inbox = {path.name for path in folder.iterdir()}
    building = repo.json("status")["building"]
    (folder / "broken.jsonl").unlink()
    grown = age_up(repo.path)
    left = [path.name for path in folder.iterdir()]
    return Wednesday(correction.stem, refusal, inbox, building, grown, left, Evening.of(repo))


@dataclass(frozen=True)
class Thursday:
    """The rest, whatever it is worth."""

    refused: AgeUp
    shown: str
    evening: Evening


@pytest.fixture(scope="module")
def thursday(sunday, wednesday) -> Thursday:
    repo, _ = sunday
    refused = age_up(repo.path)
    shown = repo.luna("evolve", "--max", "5").stdout
    return Thursday(refused, shown, Evening.of(repo))


@pytest.fixture(scope="module")
def friday(sunday, thursday) -> Evening:
    """Back to Wednesday."""
    repo, _ = sunday
    repo.luna("rollback", "6", "--reason", "dull on Thursday", "--stay")
    return Evening.of(repo)


def test_a_folder_is_not_read_until_params_yaml_says_so(sunday):
    assert "2026-w14 is a folder, and folders are not read here" in sunday[1]


def test_too_little_karma_is_refused_with_what_is_missing(morning):
    refused = morning.refused
    assert (refused.outcome, refused.karma, refused.required) == ("refused", 30, 100)
    assert refused.missing == 70
    assert "30 of 100, 70 missing" in morning.status


def test_an_age_up_that_is_refused_changes_nothing(morning):
    assert not morning.changed


def test_an_age_up_beside_another_is_told_who_is_at_work(monday):
    assert monday.meanwhile.outcome == "busy"
    assert "luna age-up" in monday.meanwhile.by


def test_an_age_up_that_the_host_stopped_is_finished_by_the_next(monday):
    denied = monday.denied
    assert (denied.outcome, denied.generation) == ("denied", monday.unfinished)
    assert [event["event"] for event in without_stages(monday.events)] == [
        "started",
        "sealed",
        "stopped",
    ]


def test_what_was_whole_when_the_host_stopped_it_is_not_made_again(monday):
    run = [event["stage"] for event in monday.events if event["event"] == "stage"]
    assert run
    assert run == STAGES[-len(run) :]


def test_a_denied_batch_keeps_its_karma_and_waits_again(sunday, monday):
    repo, denied = sunday[0], monday.denied
    assert (denied.karma, denied.left) == (30, 30)
    assert denied.head.startswith("Luna-G003-")
    assert sealed(repo, denied.generation, "models/prep.json")["folder"] == "2026-w14"
    assert karma_of(repo, denied.generation) == ("10", "30")
    assert (monday.evening.karma, monday.evening.folder) == (30, "2026-w14")


def test_a_retry_is_next_after_a_denial(monday):
    assert monday.evening.retry == 1


def test_other_conversations_begin_with_one_s_own_settings(monday):
    """Those were not tried on them."""
    assert monday.retry_with_more == 0


def test_the_next_call_goes_on_with_the_next_settings_on_the_same_folder(sunday, tuesday):
    assert [event["event"] for event in tuesday.events] == [
        "retry",
        "started",
        "sealed",
        "stopped",
    ]
    assert tuesday.events[0]["number"] == 1
    assert tuesday.events[2]["promoted"]
    assert sealed(sunday[0], tuesday.name, "params.yaml")["train"]["max_steps"] == 80


def test_one_s_own_settings_come_back_after_a_retry(tuesday):
    assert tuesday.own_steps == 4
    assert tuesday.evening.retry == 0


def test_a_promoted_batch_gives_its_karma_away_and_the_next_folder_waits(sunday, tuesday):
    assert karma_of(sunday[0], tuesday.name) == ("10", "20")
    assert (tuesday.evening.karma, tuesday.evening.folder) == (20, "2026-w15")


def test_a_broken_file_in_the_inbox_stops_the_build_and_is_not_lost(wednesday):
    assert "broken.jsonl line 1" in wednesday.refusal
    assert wednesday.inbox == {"broken.jsonl", f"{wednesday.correction}.jsonl"}
    assert wednesday.building is None


def test_a_correction_is_learnt_with_the_next_folder(sunday, wednesday):
    repo, grown = sunday[0], wednesday.grown
    assert (grown.outcome, grown.karma, grown.left) == ("promoted", 21, 10)
    assert grown.head == grown.generation
    report = sealed(repo, grown.generation, "models/prep.json")
    assert (report["folder"], report["karma"]) == ("2026-w15", 11)
    assert report["new_conversations"] + report["held_out"] == 6
    taught = repo.git("show", f"{grown.generation}:models/taught.csv").splitlines()
    assert f"{wednesday.correction},6,1" in taught
    assert wednesday.left_in_inbox == []
    assert karma_of(repo, grown.generation) == ("11", "10")


def test_evolve_learns_the_rest_whatever_it_is_worth(sunday, thursday):
    assert thursday.refused.missing == 10
    assert "nothing new is left to learn" in thursday.shown
    assert (thursday.evening.karma, thursday.evening.folder) == (0, None)
    assert karma_of(sunday[0], thursday.evening.head) == ("10", "0")


def test_after_a_rollback_what_the_later_one_had_learnt_waits_again(wednesday, friday):
    assert friday.head == wednesday.grown.generation
    assert (friday.karma, friday.folder) == (10, "2026-w16")


def test_the_week_is_a_line_of_denials_and_promotions_and_whole(sunday, friday):
    repo = sunday[0]
    assert [(row["parent"], row["promoted"]) for row in repo.json("log")[4:]] == [
        (3, False),
        (3, True),
        (5, True),
        (6, True),
    ]
    repo.luna("verify", "--all", "--quick")
