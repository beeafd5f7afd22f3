"""Which of the waiting conversations are next: flat, by number, by folder, by a list."""

from __future__ import annotations

import pytest
from conftest import facts, shipped, write_jsonl

from luna.conversations import batches, schema
from luna.errors import InputError

BY_FOLDER = shipped("data", batches="folder")


def identities(rows: list[dict]) -> set[str]:
    return {schema.parse(row).identity for row in rows}


def asked(items) -> set[str]:
    return {item.identity for item in items}


@pytest.fixture
def place(tmp_path):
    write_jsonl(tmp_path / "2026-w15/b.jsonl", facts("island", range(4)))
    write_jsonl(tmp_path / "2026-w14/deep/a.jsonl", facts("harbour", range(3)))
    write_jsonl(tmp_path / ".hidden/x.jsonl", facts("hidden", range(1)))
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_folders_are_taken_in_the_order_of_their_names(place):
    first = batches.waiting(place, BY_FOLDER, set())
    assert (first.folder, asked(first.next), asked(first.later)) == (
        "2026-w14",
        identities(facts("harbour", range(3))),
        identities(facts("island", range(4))),
    )
    second = batches.waiting(place, BY_FOLDER, asked(first.next))
    assert (second.folder, asked(second.next), second.later) == (
        "2026-w15",
        identities(facts("island", range(4))),
        [],
    )
    assert batches.waiting(
        place, BY_FOLDER, asked(first.next) | asked(second.next)
    ) == batches.Waiting([], [], None)
    assert len(batches.read(place, BY_FOLDER)) == 7


def test_files_beside_the_folders_and_what_arrives_go_with_the_next(place):
    write_jsonl(place / "inbox-1.jsonl", facts("loose", range(1)))
    arriving = [schema.parse(row) for row in facts("arriving", range(2))]
    found = batches.waiting(place, BY_FOLDER, set(), arriving)
    assert found.folder == "2026-w14" and len(found.next) == 3 + 1 + 2 and len(found.later) == 4
    alone = batches.waiting(
        place,
        BY_FOLDER,
        asked(batches.read(place, BY_FOLDER)) - identities(facts("loose", range(1))),
    )
    assert (alone.folder, asked(alone.next)) == (None, identities(facts("loose", range(1))))


def test_a_conversation_in_two_folders_belongs_to_the_first_and_a_size_divides_a_folder(place):
    write_jsonl(place / "2026-w15/again.jsonl", facts("harbour", range(3)))
    by_two = shipped("data", batches="folder", batch_size=2)
    seen: set[str] = set()
    taken = []
    while (found := batches.waiting(place, by_two, seen)).next:
        taken.append((found.folder, len(found.next)))
        seen |= asked(found.next)
    assert taken == [("2026-w14", 2), ("2026-w14", 1), ("2026-w15", 2), ("2026-w15", 2)]


def test_flat_divides_by_number(tmp_path):
    place = tmp_path
    write_jsonl(place / "a.jsonl", facts("loose", range(3)))
    assert asked(batches.waiting(place, shipped("data"), set()).next) == identities(
        facts("loose", range(3))
    )
    assert [
        len(part)
        for part in (
            batches.waiting(place, shipped("data", batch_size=2), set()).next,
            batches.waiting(place, shipped("data", batch_size=2), set()).later,
        )
    ] == [2, 1]


def test_an_invalid_line_in_a_folder_is_named(place):
    (place / "2026-w15/b.jsonl").write_text('{"instruction": "a", "output": "b", "karma": -1}\n')
    with pytest.raises(
        InputError, match="2026-w15/b.jsonl line 1: 'karma' must be a number of at least 0"
    ):
        batches.waiting(place, BY_FOLDER, set())
