"""Two clones of one line and a git remote between them: of two seals at once one wins, and the other goes on without training again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass

import pytest
import yaml
from conftest import BIN, Repo, facts, write_jsonl

from luna.history import shared
from luna.operations.renumber import Renumbered, renumber
from luna.repo.git import Git


def start(repo: Repo, *command: str) -> subprocess.Popen:
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.Popen(
        command,
        cwd=repo.path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def clone_of(repo: Repo, to) -> Repo:
    """A second clone with the same remote and the same cold storage."""
    other = repo.copy(to)
    other.run("dvc", "remote", "modify", "--local", "cold", "url", str(repo.cold))
    return other


def share(repo: Repo, bare) -> None:
    repo.push_to(bare)
    repo.luna("init")
    repo.luna("seal")


@pytest.fixture(scope="module")
def rivals(line, module_folder) -> tuple[Repo, Repo]:
    """Two clones that have both built their G004, each from a file of the same name. Their remote and cold storage are copied with ``both``."""
    folder = module_folder / "rivals"
    mine = line.copy(folder / "mine")
    share(mine, folder / "mine/origin.git")
    other = clone_of(mine, folder / "other")
    for repo, subject in ((mine, "meadow"), (other, "forest")):
        write_jsonl(repo.path / "data/conversations/third.jsonl", facts(subject, range(6)))
        repo.luna("new")
        repo.dvc("repro")
    return mine, other


def both(rivals: tuple[Repo, Repo], folder) -> tuple[Repo, Repo]:
    mine, other = rivals[0].copy(folder / "mine"), clone_of(rivals[1], folder / "other")
    for repo in (mine, other):
        repo.git("remote", "set-url", "origin", str(folder / "mine/origin.git"))
        repo.run("dvc", "remote", "modify", "--local", "cold", "url", str(mine.cold))
    return mine, other


def trained(repo: Repo) -> tuple[str, dict]:
    """The adapter's hash, and what the training reports, its name aside: how long it took, to the hundredth of a second."""
    report = json.loads((repo.path / "models/train_args.json").read_text())
    adapter = (repo.path / "models/adapter/adapter_model.safetensors").read_bytes()
    return hashlib.sha256(adapter).hexdigest(), report | {"generation": None}


def name_of(repo: Repo) -> str:
    return yaml.safe_load((repo.path / "params.yaml").read_text())["generation"]["name"]


# -- two seals at once


@dataclass(frozen=True)
class Contest:
    """Both clones sealed at once. Names are those of before; ``refusal`` is what the loser was told."""

    winner: Repo
    loser: Repo
    names: tuple[str, str]
    subject: str
    codes: list[int]
    refusal: str
    loser_changed: bool


@pytest.fixture(scope="module")
def contest(rivals, module_folder) -> Contest:
    repos = both(rivals, module_folder / "contest")
    before = [repo.snapshot() for repo in repos]
    names = [name_of(repo) for repo in repos]
    processes = [start(repo, "luna", "seal") for repo in repos]
    output = [process.communicate() for process in processes]
    codes = [process.returncode for process in processes]
    assert 0 in codes, output
    first = codes.index(0)
    last = 1 - first
    return Contest(
        repos[first],
        repos[last],
        (names[first], names[last]),
        ("meadow", "forest")[last],
        sorted(codes),
        output[last][1],
        repos[last].snapshot() != before[last],
    )


@dataclass(frozen=True)
class GoneOn:
    """'luna seal --renumber' on the loser's clone: killed once in the middle, then repeated."""

    output: str
    trained_before: tuple[str, dict]
    trained_after: tuple[str, dict]
    log: list[dict]


@pytest.fixture(scope="module")
def gone_on(contest) -> GoneOn:
    loser = contest.loser
    before = trained(loser)
    process = start(loser, "luna", "seal", "--renumber")
    assert any("the branch follows 'origin'" in row for row in process.stderr)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    output = loser.luna("seal", "--renumber").stdout
    return GoneOn(output, before, trained(loser), loser.json("log"))


def test_of_two_seals_at_once_one_wins(contest):
    assert contest.codes == [0, 2]


def test_the_loser_is_told_of_the_other_clone_and_of_the_way_on(contest):
    assert "another clone" in contest.refusal
    assert "luna seal --renumber" in contest.refusal
    assert "Traceback" not in contest.refusal


def test_the_seal_that_lost_changed_nothing(contest):
    assert not contest.loser_changed


def test_renumbered_it_is_not_trained_again_even_after_a_kill(gone_on):
    assert "train: " not in gone_on.output
    assert "Stage 'train' didn't change" in gone_on.output
    assert gone_on.trained_after == gone_on.trained_before


def test_renumbered_it_is_the_generation_after_the_winner_s(contest, gone_on):
    log, (winners, own) = gone_on.log, contest.names
    assert [row["gen"] for row in log] == [0, 1, 2, 3, 4, 5]
    assert log[4]["name"] == winners
    assert log[5]["name"] != own
    assert (log[5]["parent"], log[5]["head"]) == (3, True)


@pytest.mark.parametrize(
    "path",
    [
        "params.yaml",
        "models/metrics.json",
        "models/train_args.json",
        "models/EVAL.md",
        "models/MODEL_CARD.md",
        "models/model.gguf",
    ],
)
def test_renumbered_every_file_has_the_new_name(contest, gone_on, path):
    content = (contest.loser.path / path).read_bytes()
    assert contest.names[1].encode() not in content
    assert path == "models/EVAL.md" or gone_on.log[5]["name"].encode() in content


def test_renumbered_it_learnt_what_its_own_clone_gave_it(contest, gone_on):
    rows = (contest.loser.path / "models/data_delta.jsonl").read_text().splitlines()
    learnt = [json.loads(row)["id"] for row in rows]
    assert len(learnt) == 6
    assert all(name.startswith(contest.subject) for name in learnt)


def test_what_the_other_clone_learnt_is_there_and_waits_for_the_next_generation(contest, gone_on):
    loser = contest.loser
    assert loser.json("status")["pending"]["conversations"] == 6
    assert len((loser.path / "data/conversations/third.jsonl").read_text().splitlines()) == 12


def test_renumbered_and_sealed_the_clone_is_clean(contest, gone_on):
    assert contest.loser.git("status", "--porcelain") == ""
    assert "up to date" in contest.loser.dvc("status")


def test_both_clones_end_with_one_line_and_it_grows(contest, gone_on):
    winner, loser = contest.winner, contest.loser
    winner.git("pull", "-q", "--ff-only", "origin", "main")
    winner.git("fetch", "-q", "origin")
    assert winner.references().replace("refs/remotes", "")
    assert winner.json("log")[5]["name"] == gone_on.log[5]["name"]
    for repo in (winner, loser):
        repo.luna("verify", "--all", "--remote")
    loser.luna("new")


# -- a seal whose push went through before a kill


def test_killed_after_the_remote_had_taken_it_the_seal_is_finished_here(rivals, tmp_path):
    """As a kill between the push and the transaction leaves it: the remote has this very seal, and nothing is sealed here."""
    mine, _ = both(rivals, tmp_path)
    twin = clone_of(mine, tmp_path / "twin")
    twin.luna("seal")
    assert "promoted" in mine.luna("seal").stdout
    kinds = ("refs/heads", "refs/tags", "refs/luna")
    assert mine.git("for-each-ref", *kinds) == twin.git("for-each-ref", *kinds)
    assert mine.git("status", "--porcelain") == ""
    assert "up to date" in mine.dvc("status")


# -- other commits in both clones


@pytest.fixture(scope="module")
def parted(rivals, module_folder) -> tuple[Repo, Repo]:
    """The other clone pushed NOTES.md, and this one has a file NOTES.md of its own that is not committed."""
    mine, other = both(rivals, module_folder / "parted")
    other.git("checkout", "-q", "--", ".")
    (other.path / "NOTES.md").write_text("theirs\n")
    other.commit("notes")
    other.git("push", "-q", "--no-verify", "origin", "main")
    (mine.path / "NOTES.md").write_text("mine, not committed\n")
    return mine, other


@dataclass(frozen=True)
class Refusal:
    """What 'luna seal --renumber' said where it could not join, and the clone before and after."""

    text: str
    before: tuple[str, dict[str, bytes]]
    after: tuple[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def refusal(parted) -> Refusal:
    mine, _ = parted
    before = mine.snapshot()
    text = mine.luna("seal", "--renumber", code=2).stderr
    return Refusal(text, before, mine.snapshot())


@dataclass(frozen=True)
class Joined:
    """This clone has its own commit instead, and is joined with the remote."""

    overtaken: bool
    done: Renumbered
    first_parent: str
    theirs: str
    changed: list[str]


@pytest.fixture(scope="module")
def joined(parted, refusal) -> Joined:
    mine, _ = parted
    (mine.path / "NOTES.md").unlink()
    (mine.path / "MINE.md").write_text("mine\n")
    mine.git("add", "MINE.md")
    mine.git("commit", "-q", "--no-verify", "-m", "mine")
    git, overtaken = Git(mine.path), False
    try:
        shared.require_not_overtaken(git, "refs/heads/main", shared.ask(git))
    except shared.Overtaken:
        overtaken = True
    done = renumber(mine.path)
    return Joined(
        overtaken,
        done,
        mine.git("rev-parse", "main^1"),
        mine.git("rev-parse", "origin/main"),
        mine.git("diff", "--name-only", "HEAD").splitlines(),
    )


@dataclass(frozen=True)
class Sealed:
    """The seal after that."""

    output: str
    trained_before: tuple[str, dict]
    trained_after: tuple[str, dict]


@pytest.fixture(scope="module")
def sealed(parted, joined) -> Sealed:
    mine, _ = parted
    before = trained(mine)
    output = mine.luna("seal", "--renumber").stdout
    return Sealed(output, before, trained(mine))


def test_a_file_that_was_changed_on_both_sides_is_named_and_no_file_is_changed(refusal):
    assert "NOTES.md was changed here and in 'origin'" in refusal.text
    assert refusal.after[1] == refusal.before[1]
    assert "refs/heads/main" in refusal.after[0]


def test_a_seal_asks_whether_the_remote_went_on(joined):
    assert joined.overtaken


def test_commits_of_both_are_joined(parted, joined):
    mine, _ = parted
    assert (mine.path / "NOTES.md").read_text() == "theirs\n"
    assert (mine.path / "MINE.md").read_text() == "mine\n"
    assert joined.first_parent == joined.theirs


def test_a_number_that_is_still_free_is_kept(joined):
    assert joined.done.was == joined.done.name


def test_joining_leaves_the_conversations_and_the_results_to_be_sealed(joined):
    own = ("models/", "params.yaml", "dvc.lock", "lineage.csv")
    assert {path for path in joined.changed if not path.startswith(own)} == {
        "data/conversations/third.jsonl"
    }


def test_joined_and_sealed_it_is_not_trained_again(parted, joined, sealed):
    assert "train: " not in sealed.output
    assert sealed.trained_after == sealed.trained_before
    assert parted[0].json("log")[4]["name"] == joined.done.name


def test_what_came_along_waits_for_the_next_generation(parted, sealed):
    mine, _ = parted
    assert mine.json("status")["pending"]["conversations"] == 6
    assert "up to date" in mine.dvc("status")


def test_where_nothing_is_being_built_renumbering_says_so(parted, sealed):
    _, other = parted
    other.git("fetch", "-q", "origin")
    assert "was sealed before" in other.luna("seal", "--renumber").stdout
