"""'luna import' in a repository: what it writes, says and leaves alone, and that the next generation takes it in."""

from __future__ import annotations

import json
import signal
import sys
import tracemalloc
from pathlib import Path

import exports
import pytest
from conftest import Repo

from luna.conversations import folder
from luna.importing.read import Reading


def pairs(count: int, begin: int = 0) -> list[dict]:
    return [
        exports.chatgpt_pair(f"What is the number of boat {n}?", f"It is {n * 7}.")
        for n in range(begin, begin + count)
    ]


@pytest.fixture
def mine(empty, tmp_path) -> Repo:
    return empty.copy(tmp_path / "mine")


def export(repo: Repo, rows: list, name: str = "export.json") -> str:
    return str(exports.write_json(repo.path.parent / name, rows))


def data(repo: Repo) -> dict[str, bytes]:
    return {
        path.relative_to(repo.path).as_posix(): path.read_bytes()
        for path in sorted((repo.path / "data").rglob("*"))
        if path.is_file()
    }


def test_an_import_writes_one_file_a_source_and_twice_adds_nothing(mine):
    before = data(mine)
    source = export(mine, pairs(4))
    first = mine.json("import", source)
    assert (first["taken"], first["known"]) == (4, 0)
    [name] = data(mine).keys() - before.keys()
    assert name == first["sources"][0]["file"] and name.startswith(
        "data/conversations/import-export-"
    )
    after = data(mine)
    again = mine.json("import", source)
    assert (again["taken"], again["known"], again["sources"][0]["file"]) == (0, 4, None)
    assert data(mine) == after


def test_the_same_source_gives_the_same_file_anywhere(empty, tmp_path):
    files = []
    for name in "ab":
        repo = empty.copy(tmp_path / name)
        repo.luna("import", export(repo, [*pairs(3), {"messages": []}]))
        files.append(data(repo))
    assert files[0] == files[1] and len(files[0]) == 3


def test_only_what_is_new_in_a_longer_export_comes_in(mine):
    mine.luna("import", export(mine, pairs(3)))
    result = mine.json("import", export(mine, [*pairs(5), *pairs(1, 4)], "later.json"))
    assert (result["taken"], result["known"], result["repeated"]) == (2, 3, 1)


def test_an_edited_import_is_not_written_over(mine):
    source = export(mine, pairs(1))
    path = mine.path / mine.json("import", source)["sources"][0]["file"]
    path.write_text(path.read_text().replace("boat", "ship"))
    again = mine.json("import", source)
    assert (
        again["taken"] == 1
        and again["sources"][0]["file"] != path.relative_to(mine.path).as_posix()
    )
    assert "ship" in path.read_text()


def test_a_dry_run_writes_nothing_and_shows_what_would_come(mine):
    key = "AKIA" + "QYLPMN5HHHFPZAM2"
    rows = [
        *pairs(2),
        exports.chatgpt_pair("When does the ferry leave from the north quay today?", "At nine."),
        exports.chatgpt_pair("When does the ferry leave from the north quay today?", "At ten."),
        exports.chatgpt_pair(
            "Wann fährt die Fähre heute von der Nordmole ab?", "Um neun Uhr von der Nordmole."
        ),
        exports.chatgpt_pair("Mein Schlüssel?", f"Er lautet {key}."),
        exports.chatgpt_pair("Say much.", "word " * 1800),
        {"title": "nothing"},
    ]
    source = export(mine, rows)
    before = mine.snapshot()
    result = mine.json("import", "--dry-run", source)
    shown = mine.luna("import", "--dry-run", source).stdout
    assert mine.snapshot() == before
    assert result["dry_run"] and (result["read"], result["taken"], result["rejected"]) == (8, 7, 1)
    assert result["reasons"] == {"unknown_form": 1} and result["several_answers"] == 1
    assert result["languages"]["de"] >= 1 and result["languages"]["en"] >= 1
    assert result["tokens"]["beyond"] == 1 == result["tokens"]["too_long"]
    assert result["tokens"]["window"] == 1024
    assert not result["tokens"]["exact"]  # there is no base
    assert result["secrets"]["kinds"] == {"AWS Access Key": 1}
    assert result["secrets"]["where"] == ["export.json item 6"]
    assert len(result["examples"]) == 3
    assert "Nothing was written." in shown and "AWS Access Key 1" in shown and "estimated" in shown
    assert "several answers: 1" in shown


def test_rejects_lie_beside_the_data_with_reason_place_and_row(mine):
    row = {"messages": [{"role": "user", "content": "Hm?"}]}
    result = mine.json("import", export(mine, [*pairs(1), row]))
    path = mine.path / result["sources"][0]["rejects"]
    assert path.parent == mine.path / "data/rejected"
    assert json.loads(path.read_text()) == {
        "source": "export.json",
        "where": "item 2",
        "reason": "no_reply",
        "sentence": "It has no reply of the assistant.",
        "row": row,
    }
    assert "rejected" not in mine.git("status", "--porcelain")


def test_a_line_that_is_no_json_is_kept_as_it_stands_and_a_dry_run_of_nothing_advises_nothing(mine):
    source = mine.path.parent / "lines.jsonl"
    source.write_text(json.dumps(pairs(1)[0]) + "\n{broken\n")
    assert "without --dry-run" in mine.luna("import", "--dry-run", str(source)).stdout
    result = mine.json("import", str(source))
    assert json.loads((mine.path / result["sources"][0]["rejects"]).read_text())["row"] == "{broken"
    shown = mine.luna("import", "--dry-run", str(source)).stdout
    assert "Nothing was written." in shown and "without --dry-run" not in shown


def test_into_the_inbox(mine):
    result = mine.json("import", "--inbox", export(mine, pairs(2)))
    assert result["sources"][0]["file"].startswith("data/inbox/")
    assert mine.json("status")["pending"]["conversations"] == 5


def test_a_refused_source_leaves_everything_as_it_was(mine):
    bad = mine.path.parent / "bad.json"
    bad.write_text('[{"messages": [{"role": "user"')
    before = mine.snapshot()
    done = mine.luna("import", export(mine, pairs(2)), str(bad), code=2)
    assert done.stderr.endswith("Nothing was imported.\n") and done.stdout == ""
    assert mine.snapshot() == before


def test_nothing_usable_is_exit_code_1(mine):
    done = mine.luna(
        "import", export(mine, [{"messages": [{"role": "user", "content": "Hm?"}]}]), code=1
    )
    assert "data/rejected" in done.stderr


def test_what_was_imported_is_read_by_the_next_generation(mine):
    """Every form, a control mark in a message among them; 'luna new' reads the folder as 'status' does."""
    folder_of = mine.path.parent / "sources"
    folder_of.mkdir()
    mark = exports.chatgpt_pair("Is <|im_start|>system a mark?", "It is text: <|im_end|>.")
    exports.write_json(folder_of / "a", [*pairs(2), mark])
    exports.write_json(folder_of / "b", [exports.claude([("human", "One?"), ("assistant", "1")])])
    exports.write_json(folder_of / "c", [exports.open_webui()])
    exports.write_json(folder_of / "d", exports.lm_studio())
    (folder_of / "e").write_text(exports.WHATSAPP["ios-de"].format(q="Wann?", a="Um neun."))
    exports.write_json(folder_of / "f", exports.telegram())
    (folder_of / "g").write_text("prompt,completion\nTwo?,2\n")
    result = mine.json("import", str(folder_of), "--me", "Anna")
    assert result["rejected"] == 0 and len(result["sources"][0]["forms"]) == 7
    read = folder.load(mine.path / "data/conversations")
    assert len(read) == 3 + result["taken"]
    assert mine.json("status")["pending"]["conversations"] == len(read)
    assert any("<|im_start|>system" in text for item in read for _, text in item.messages)


def test_a_killed_import_leaves_nothing_behind(mine):
    """The kill comes while the source is read."""
    source = Path(export(mine, pairs(20)))
    before = mine.snapshot()
    code = (
        "import os, signal, sys\n"
        "from luna.importing import survey\n"
        "add, seen = survey.Surveyor.add, []\n"
        "def killed(self, *given):\n"
        "    seen.append(1)\n"
        "    if len(seen) == 10: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    add(self, *given)\n"
        "survey.Surveyor.add = killed\n"
        f"sys.argv = ['luna', 'import', {str(source)!r}]\n"
        "from luna.cli import main\n"
        "main.main()\n"
    )
    mine.run(sys.executable, "-c", code, code=-signal.SIGKILL)
    assert mine.snapshot() == before
    assert mine.json("import", str(source))["taken"] == 20


def test_a_large_export_is_read_as_a_stream(tmp_path):
    """15 MB of one array, as objects several times that; a few conversations at a time are in memory."""
    rows = pairs(1_500)
    rows = [row | {"safe_urls": ["https://example.org"] * 400} for row in rows]
    source = exports.write_json(tmp_path / "large.json", rows)
    del rows
    assert source.stat().st_size > 12e6
    tracemalloc.start()
    try:
        count = sum(1 for _ in Reading(source).conversations())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1_500 and peak < 6e6


def test_a_dry_run_says_what_is_wrong_with_the_first_rejected_rows(mine, tmp_path):
    given = tmp_path / "club.csv"
    rows = ["question,answer", *(f"What is {at}?,It is {at}." for at in range(3))]
    given.write_text("\n".join([*rows, *["A,B,C"] * 5, ""]))
    shown = mine.luna("import", str(given), "--dry-run").stdout
    assert shown.count("It has 3 cells under 2 columns.") == 3
    [source] = mine.json("import", str(given), "--dry-run")["sources"]
    assert source["rejected"] == 5 and source["wrong"][0].endswith("3 cells under 2 columns.")
