"""What a person may drop into data/conversations, evals/probes and data/inbox: read, ignored by rule, or refused by name."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import facts, shipped, write_jsonl

from luna.conversations import batches, folder, inbox, probes
from luna.conversations.folder import Kind
from luna.errors import InputError
from luna.text import escaped_json


def bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have a hundred characters
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path.name)
    os.chdir(here)


def undecodable(path: Path) -> None:
    Path(os.fsdecode(os.fsencode(path))).write_text("{}")


ROW = json.dumps(facts("x", range(1))[0]) + "\n"
DROPPED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a folder named like a file": ("x.jsonl", Path.mkdir, "is a folder, though"),
    "a dangling link": ("x.jsonl", lambda path: path.symlink_to("nowhere"), "leads nowhere"),
    "an editor's lock": (".#x", lambda path: path.symlink_to("me@host.1"), "leads nowhere"),
    "a looping link": ("x.jsonl", lambda path: path.symlink_to(path.name), "round in a circle"),
    "a FIFO": ("x.jsonl", os.mkfifo, "is a FIFO"),
    "a FIFO of any name": ("README", os.mkfifo, "is a FIFO"),
    "a link to a device": ("x.jsonl", lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "a socket": ("x.jsonl", bind, "is a socket"),
    "capitals": ("x.JSONL", lambda path: path.write_text(ROW), "rename it"),
    "json": ("x.json", lambda path: path.write_text("[]"), "does not end in .jsonl"),
    "csv": ("x.csv", lambda path: path.write_text("a,b"), "does not end in .jsonl"),
    "ndjson": ("x.ndjson", lambda path: path.write_text(ROW), "rename it"),
    "packed": ("x.jsonl.gz", lambda path: path.write_bytes(b"\x1f\x8b"), "decompress it"),
    "no suffix": ("conversations", lambda path: path.write_text(ROW), "does not end in .jsonl"),
    "empty": ("x.jsonl", Path.touch, "holds no conversation"),
    "UTF-16": ("x.jsonl", lambda path: path.write_text(ROW, "utf-16"), "x.jsonl line 1: it is UTF"),
    "UTF-16 without a mark": ("x.jsonl", lambda p: p.write_text(ROW, "utf-16-le"), "line 1: it h"),
    "not UTF-8": ("x.jsonl", lambda path: path.write_bytes(b'{"\xff'), "line 1: it is not UTF-8"),
    "NUL bytes": ("x.jsonl", lambda path: path.write_bytes(b"\0" * 9), "line 1: it holds NUL"),
    "one endless line": ("x.jsonl", lambda path: path.write_text("[" * 2**20), "line 1: it is lo"),
    "a name that is not UTF-8": ("\udcff.jsonl", undecodable, "has a name that is not UTF-8"),
}


@pytest.mark.parametrize(("name", "make", "words"), DROPPED.values(), ids=DROPPED)
@pytest.mark.parametrize(
    "reader",
    [
        lambda root: batches.read(root, shipped("data")),
        lambda root: batches.read(root, shipped("data", batches="folder")),
        probes.curated,
        folder.load,
    ],
    ids=["flat", "folder", "probes", "load"],
)
def test_what_cannot_be_read_is_one_sentence_that_names_it(tmp_path, reader, name, make, words):
    write_jsonl(tmp_path / "good.jsonl", facts("good", range(2)))
    make(tmp_path / name)
    with pytest.raises(InputError) as error:
        reader(tmp_path)
    sentence = str(error.value)
    assert words in sentence and "\n" not in sentence and sentence.isprintable()
    assert name in sentence or "\\udcff.jsonl" in sentence


def test_every_file_that_is_not_right_is_named_with_its_first_fault_and_at_most_ten(tmp_path):
    conversations = tmp_path / "data/conversations"
    write_jsonl(conversations / "good.jsonl", facts("good", range(2)))
    for number in range(12):
        (conversations / f"bad-{number:02d}.jsonl").write_text(ROW + "{\n[\n")
    (conversations / "a.csv").write_text("")
    for read in (
        lambda: batches.read(conversations, shipped("data")),
        lambda: folder.load(conversations),
    ):
        with pytest.raises(InputError) as error:
            read()
        first, *rows = str(error.value).split("\n  ")
        assert first == "13 files are not right:" and len(rows) == 11
        assert "a.csv is not read" in rows[0] and rows[-1] == "and 3 more"
        assert all("line 2: it is not valid JSON" in row for row in rows[1:-1])
        assert len(set(rows)) == len(rows)
    conversations.rename(tmp_path / "data/inbox")
    with pytest.raises(InputError, match="13 files are not right"):
        inbox.waiting(tmp_path)


def test_an_inbox_with_what_is_no_conversation_is_refused_and_a_vanished_file_is_not(tmp_path):
    place = tmp_path / "data/inbox"
    place.mkdir(parents=True)
    assert inbox.waiting(tmp_path) == []
    os.mkfifo(place / "x.jsonl")
    with pytest.raises(InputError, match="x.jsonl is a FIFO"):
        inbox.waiting(tmp_path)


def test_a_name_with_a_terminals_commands_is_written_as_escapes(tmp_path):
    (tmp_path / "\x1b[31mred\n\u202e.jsonl").write_text("{}")
    with pytest.raises(InputError) as error:
        folder.load(tmp_path)
    assert r"\x1b[31mred\n\u202e.jsonl line 1" in str(error.value)
    assert str(error.value).isprintable()


def test_a_folder_that_is_not_read_is_refused_and_the_way_named(tmp_path):
    write_jsonl(tmp_path / "week-1/a.jsonl", facts("a", range(1)))
    with pytest.raises(InputError, match=r"week-1 is a folder.*data\.batches: folder"):
        batches.read(tmp_path, shipped("data"))
    assert len(batches.read(tmp_path, shipped("data", batches="folder"))) == 1
    os.mkfifo(tmp_path / "week-1/pipe")
    with pytest.raises(InputError, match="week-1/pipe is a FIFO"):
        batches.read(tmp_path, shipped("data", batches="folder"))


def test_a_linked_folder_is_read_and_one_that_holds_itself_is_refused(tmp_path):
    write_jsonl(tmp_path / "elsewhere/a.jsonl", facts("a", range(1)))
    place = tmp_path / "conversations"
    place.mkdir()
    (place / "linked").symlink_to("../elsewhere")
    assert len(batches.read(place, shipped("data", batches="folder"))) == 1
    (place / "self").symlink_to(".")
    with pytest.raises(InputError, match="self is a link to a folder that contains the link"):
        batches.read(place, shipped("data", batches="folder"))


def test_what_the_rule_ignores_is_listed_as_such(tmp_path):
    names = ("README", "readme.txt", "notes.md", ".gitkeep", "a.jsonl~", ".a.jsonl.swp", "LICENSE")
    for name in names:
        (tmp_path / name).write_text("not JSON")
    (tmp_path / "empty/deeper").mkdir(parents=True)
    (tmp_path / "good.jsonl").write_bytes(b"\xef\xbb\xbf" + ROW.encode())  # with a mark: read
    listed = {entry.path.name: entry.kind for entry in folder.entries(tmp_path)}
    assert listed == dict.fromkeys((*names, "empty"), Kind.IGNORED) | {"good.jsonl": Kind.READ}
    assert len(folder.load(tmp_path)) == 1


def test_a_file_in_the_folders_stead_is_refused_and_no_folder_is_empty(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no folder that can be read"):
        folder.load(tmp_path / "file")
    assert folder.load(tmp_path / "absent") == []


@pytest.mark.parametrize("place", ["data/conversations", "evals/probes", "data/inbox"])
def test_status_names_it_and_new_refuses_with_nothing_changed(line, tmp_path, place):
    repo = line.copy(tmp_path / "repo")
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("valley", range(2)))
    (repo.path / place).mkdir(exist_ok=True)
    os.mkfifo(repo.path / place / "x.jsonl")
    before = repo.snapshot()
    for done in (repo.luna("status"), repo.luna("new", code=2), repo.luna("evolve", code=2)):
        assert f"{place}/x.jsonl is a FIFO" in done.stdout + done.stderr
    assert repo.json("status")["next"].startswith("correct")
    assert repo.snapshot() == before


def test_status_and_new_say_what_is_ignored(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    rows = [row | {"source": "web"} for row in facts("valley", range(2))]
    write_jsonl(repo.path / "data/conversations/third.jsonl", rows)
    (repo.path / "data/conversations/notes.md").write_text("")
    words = (
        "ignored in data/conversations: notes.md",
        "ignored in 2 conversations: the key 'source'",
    )
    assert repo.json("status")["ignored"] == list(words)
    started = repo.luna("new")
    assert all(word in repo.luna("status").stdout for word in words)
    assert all(word in started.stderr + started.stdout for word in words)


@pytest.mark.parametrize(
    "text", ["\x1b[31m", "\x9b", "\u202e", "\U000e0041", "\udcff", "a\u200db", "é"]
)
def test_json_stays_the_same_document_and_holds_nothing_that_a_terminal_obeys(text):
    shown = escaped_json(json.dumps({"key": text}, indent=2, ensure_ascii=False))
    assert json.loads(shown) == {"key": text}
    assert shown.replace("\n", "").replace("\u200d", "").isprintable()
