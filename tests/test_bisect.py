"""luna bisect and luna blame: where an answer was lost or learnt, and what taught it, without touching the working tree."""

from __future__ import annotations

import hashlib
import shutil
from math import ceil, log2

import pytest
from conftest import Repo

from bench import long_line

QUESTION = "What is the harbour word number 5?"


@pytest.fixture(scope="module")
def words(line) -> tuple[str, str]:
    """A word that G003 answers with and G000 does not, and G000's own answer: the tiny model says what it likes."""
    replies = {
        row["name"][:9]: row["answer"]
        for row in line.json("bisect", QUESTION, "--expect", "x", "--all")["replies"]
    }
    mine = next(
        word
        for word in replies["Luna-G003"].split()
        if word.isalnum() and word not in replies["Luna-G000"].split()
    )
    return mine, replies["Luna-G000"]


@pytest.fixture(scope="module")
def loses(line, tmp_path_factory) -> tuple[Repo, list[dict], dict]:
    """20 generations: those before the 13th have G003's model, the others G000's. With them the rows of the head's line, and the one at which it was lost."""
    from luna import artifacts
    from luna.history.line import artifact

    old, new = (
        artifact(line.path, line.json("log")[gen]["name"], artifacts.MODEL).read_bytes()
        for gen in (3, 0)
    )
    repo = Repo(
        long_line.make(
            tmp_path_factory.mktemp("loses"),
            20,
            lambda number: new if number >= 13 else old,
            {"max_tokens: auto": "max_tokens: 8"},
        )
    )
    rows = [row for row in repo.json("log") if row["on_head_line"]]
    return repo, rows, next(row for row in rows if row["gen"] >= 13)


def object_of(repo: Repo, gen: int, artifact: str = "models/model.gguf"):
    """An artifact's object in the cache and in cold storage."""
    from luna.history.line import sealed_outs

    md5 = sealed_outs(repo.path, repo.json("log")[gen]["name"])[artifact].md5
    return repo.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:], repo.cold / "files/md5" / md5[
        :2
    ] / md5[2:]


def test_what_was_learnt(line, words):
    before = line.snapshot()
    found = line.json("bisect", QUESTION, "--expect", words[0].upper())
    names = [row["name"] for row in line.json("log")]
    assert (found["change"], found["before"], found["at"], found["between"]) == (
        "learnt",
        names[0],
        names[1],
        [],
    )
    text = line.luna("bisect", QUESTION, "--expect", words[0], "--good", "3", "--bad", "0").stdout
    assert "was learnt at" in text
    assert names[1] in text
    assert line.snapshot() == before


def test_what_was_lost_is_found_by_asking_few(loses, words):
    repo, rows, lost = loses
    before = repo.snapshot()
    found = repo.json("bisect", QUESTION, "--expect", words[0])
    assert (found["change"], found["at"], found["before"]) == (
        "lost",
        lost["name"],
        rows[rows.index(lost) - 1]["name"],
    )
    assert len(found["replies"]) <= 2 * ceil(log2(len(rows))) + 1 < len(rows)
    ends = repo.json(
        "bisect", QUESTION, "--expect", words[0], "--good", str(rows[1]["gen"]), "--bad", "HEAD"
    )
    assert ends["at"] == lost["name"]
    assert len(ends["replies"]) <= ceil(log2(len(rows))) + 2
    assert (
        repo.json(
            "bisect",
            QUESTION,
            "--expect",
            words[0],
            "--bad",
            lost["name"],
            "--good",
            str(rows[1]["gen"]),
        )["at"]
        == lost["name"]
    )
    assert repo.snapshot() == before


def test_all_asks_every_generation_of_the_line(loses, words):
    repo, rows, lost = loses
    found = repo.json("bisect", QUESTION, "--expect", words[0], "--all")
    assert [reply["name"] for reply in found["replies"]] == [row["name"] for row in rows]
    assert [reply["has"] for reply in found["replies"]] == [
        row["gen"] < lost["gen"] for row in rows
    ]


def test_no_change_is_an_answer(line):
    done = line.luna("bisect", QUESTION, "--expect", "a word that is never said", code=1)
    assert "No change was found" in done.stdout
    assert "--all" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--expect", "x", "--good", "77"], "no generation '77'"),
        (["--expect", "?!"], "contains no word"),
        (["--expect", ""], "empty"),
        (["--expect", "x", "--good", "1", "--bad", "G001"], "both"),
        (["--expect", "x", "--good", "2", "--bad", "3"], "different branches"),
        (["--expect", "never said", "--good", "1"], "cannot be the good end"),
        (["--expect", "x" * 5000], "longer"),
    ],
)
def test_bisect_refuses_what_makes_no_sense(line, arguments, said):
    before = line.snapshot()
    assert said in line.luna("bisect", QUESTION, *arguments, code=2).stderr
    assert line.snapshot() == before


@pytest.mark.parametrize("question", ["", " \n ", "not text: \udcff"])
def test_questions_that_are_none(line, question):
    assert (
        "The question cannot be used"
        in line.luna("bisect", question, "--expect", "x", code=2).stderr
    )
    assert "The question cannot be used" in line.luna("blame", question, code=2).stderr


def test_models_come_from_cold_storage_and_damage_is_noticed(line, words, tmp_path):
    mine = line.copy(tmp_path / "mine")
    names = [row["name"] for row in mine.json("log")]
    shutil.rmtree(mine.path / ".dvc/cache")
    before = mine.snapshot()
    assert mine.json("bisect", QUESTION, "--expect", words[0])["at"] == names[1]
    cached, stored = object_of(mine, 1)
    good = cached.read_bytes()
    cached.unlink()
    cached.write_bytes(
        good[:-1000]
    )  # truncated in the cache: set aside, and taken from cold storage
    assert mine.json("bisect", QUESTION, "--expect", words[0])["at"] == names[1]
    assert hashlib.md5(cached.read_bytes()).hexdigest() == cached.parent.name + cached.name
    cached.unlink()
    stored.chmod(0o644)
    stored.write_bytes(good[:-1000])
    assert mine.json("bisect", QUESTION, "--expect", words[0])["at"] == names[1]
    assert cached.read_bytes() == good  # rebuilt from base and adapter, bit for bit
    for lost in (
        cached,
        *object_of(mine, 1, "models/adapter"),
    ):  # now it is nowhere whole: the change lies at G001 or G003
        lost.unlink(missing_ok=True)
    found = mine.json("bisect", QUESTION, "--expect", words[0])
    assert (found["before"], found["at"], found["between"]) == (
        names[0],
        names[3],
        [names[1]],
    )
    assert "wrong bytes" in found["unaskable"][names[1]]
    assert "cannot be asked" in mine.luna("bisect", QUESTION, "--expect", words[0]).stdout
    assert (
        "wrong bytes" in mine.luna("bisect", QUESTION, "--expect", words[0], "--all", code=1).stdout
    )
    assert (
        "needs it"
        in mine.luna("bisect", QUESTION, "--expect", words[0], "--good", "1", code=2).stderr
    )
    references, files = mine.snapshot()
    assert references == before[0]
    # What was damaged in the cache is kept, and nothing else is new.
    assert {path: data for path, data in files.items() if "quarantine/" not in path} == before[1]


def test_blame_names_conversation_generation_and_later_batches(line):
    before = line.snapshot()
    found = line.json("blame", QUESTION)
    names = [row["name"] for row in line.json("log")]
    first = found["nearest"][0]
    assert (first["similarity"], first["asked"], first["by"], first["reply"]) == (
        100.0,
        QUESTION,
        names[1],
        "Aye, the word is fjord5, so it is.",
    )
    assert [
        (later["generation"], later["trained"], later["asked"]) for later in first["later"]
    ] == [(names[1], True, 2), (names[3], True, 2)]
    assert found["missing"] == []
    assert len(found["nearest"]) == 3
    near = line.json("blame", "what's the 4th island word, number 4?", "--max", "1")["nearest"]
    assert near[0]["by"] == names[3]
    assert near[0]["asked"] == "What is the island word number 4?"
    text = line.luna("blame", QUESTION).stdout
    assert f"taught by {names[1]}" in text
    assert "trained on again" in text
    assert line.snapshot() == before


def test_blame_says_when_nothing_near_was_taught(line):
    assert "No similar question" in line.luna("blame", "zzz xxx", code=1).stdout
    assert "taught nothing yet" in line.luna("blame", QUESTION, "--generation", "0", code=2).stderr
    assert "no generation '9'" in line.luna("blame", QUESTION, "--generation", "9", code=2).stderr


def test_blame_finds_what_is_no_longer_in_the_folder_and_marks_what_is_gone(line, tmp_path):
    mine = line.copy(tmp_path / "mine")
    mine.forge(
        {
            "data/conversations/first.jsonl": '{"broken\n',
            "data/conversations/second.jsonl": "\x1b[2J\n",
        }
    )
    assert mine.json("blame", QUESTION)["nearest"][0]["asked"] == QUESTION
    shutil.rmtree(mine.path / ".dvc/cache")
    mine.cold.rename(mine.cold.with_name("gone"))
    assert "can be read" in (said := mine.luna("blame", QUESTION, code=2).stderr)
    assert "neither in the cache nor in the cold storage" in said


def test_blame_goes_on_without_the_exams_that_are_gone(line, tmp_path):
    mine = line.copy(tmp_path / "mine")
    shutil.rmtree(mine.path / ".dvc/cache")
    mine.cold.rename(mine.cold.with_name("gone"))
    found = mine.json("blame", QUESTION)  # the conversations themselves are in git
    assert found["nearest"][0]["similarity"] == 100.0
    assert found["nearest"][0]["later"] == []
    assert len(found["missing"]) == 4
    assert all("cold storage" in sentence for sentence in found["missing"])
