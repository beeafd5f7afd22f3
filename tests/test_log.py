"""luna log: the line and the head's history, shown truly, at any length, and with honest marks where the record is damaged."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from conftest import Repo
from hypothesis import given
from hypothesis import strategies as st

from bench import long_line
from luna import ledger
from luna.errors import InputError
from luna.forensics.lanes import as_text, lay_out


def on_terminal(repo: Repo, columns: int, *arguments: str, **environment: str) -> str:
    """What the command prints on a terminal of that width."""
    from bench import terminal  # it needs pty, which Windows lacks

    return re.sub(
        r"\x1b\[[0-9;]*m",
        "",
        terminal.shown(
            repo.path,
            "luna",
            *arguments,
            columns=columns,
            **({"TERM": "xterm", "NO_COLOR": "1", "PAGER": "cat"} | environment),
        ),
    )


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals on Windows")
def test_table_is_whole_in_a_pipe_and_loses_columns_on_a_narrow_terminal(line):
    rows = line.json("log")
    text = line.luna("log").stdout
    assert "…" not in text and all(
        row["weights_sha256"][:12] in text and row["timestamp"] in text for row in rows
    )
    wide, narrow = on_terminal(line, 120, "log"), on_terminal(line, 40, "log")
    assert rows[3]["timestamp"] in wide
    assert "…" not in narrow and all(len(row) <= 40 for row in narrow.splitlines())
    assert (
        all(row.startswith(f"G{number:03d}") for number, row in enumerate(narrow.splitlines()[1:]))
        and "denied" in narrow
        and "recall" in narrow
    )


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals on Windows")
def test_a_long_line_is_shown_in_a_pager_and_limit_shows_the_newest(line, tmp_path):
    rows = line.json("log")
    for arguments, names in (
        (("log", "--limit", "2"), [f"G{row['gen']:03d}" for row in rows[2:]]),
        (("log", "--graph", "-n", "1"), ["G003"]),
    ):
        text = line.luna(*arguments).stdout.splitlines()[1:]
        assert [name in row for name, row in zip(names, text, strict=True)] == [True] * len(names)
    assert [row["gen"] for row in line.json("log", "--limit", "2")] == [2, 3]
    assert line.json("log", "--head", "--limit", "1") == line.json("log", "--head")[-1:]
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\nsed 's/^/| /'\n: > {tmp_path}/used\n")
    pager.chmod(0o755)
    used = tmp_path / "used"
    for lines, environment, paged in (
        (40, {}, False),
        (3, {}, True),
        (3, {"PAGER": ""}, False),
        (3, {"PAGER": "no-such-pager"}, False),
        (3, {"TERM": "dumb"}, False),
    ):
        used.unlink(missing_ok=True)
        env = {"PAGER": str(pager), "LINES": str(lines)} | environment
        text = on_terminal(line, 120, "log", **env)
        assert used.exists() == paged and text.count("| G00") == 4 * paged, (lines, environment)
        assert all(row["timestamp"] in text for row in rows)


def test_states_and_tree_after_a_denial_and_a_rollback(line, tmp_path):
    mine = line.copy(tmp_path / "mine")
    assert [row["state"] for row in mine.json("log")] == ["base", "promoted", "denied", "HEAD"]
    assert [row[:8] for row in mine.luna("log", "--graph").stdout.splitlines()[1:]] == [
        "◆   G000",
        "●   G001",
        "├─✗ G002",
        "★   G003",
    ]
    mine.luna("rollback", "1", "--reason", "answers were dull", "--stay")
    assert [row["state"] for row in mine.json("log")] == ["base", "HEAD", "denied", "rolled back"]
    assert [row["on_head_line"] for row in mine.json("log")] == [True, True, False, False]
    assert [row[:8] for row in mine.luna("log", "--graph").stdout.splitlines()[1:]] == [
        "◆   G000",
        "★   G001",
        "├─✗ G002",
        "╰─○ G003",
    ]
    mine.luna("rollback", "3", "--reason", "no, they were not", "--stay")
    assert [row["state"] for row in mine.json("log")] == ["base", "promoted", "denied", "HEAD"]


def test_head_history_says_who_when_whence_and_why_and_cannot_move_the_cursor(line, tmp_path):
    mine = line.copy(tmp_path / "mine")
    mine.luna("rollback", "1", "--reason", "dull \x1b[2J\x1b]0;gone\x07 <script>", "--stay")
    last = mine.json("log", "--head")[-1]
    assert last["who"] == "Tester <tester@example.com>" and last["when"].endswith("Z")
    assert last["generation"].startswith("Luna-G001-") and last["previous"].startswith("Luna-G003-")
    text = mine.luna("log", "--head").stdout
    assert (
        "Rollback to G001: dull" in text
        and "<script>" in text
        and "Tester <tester@example.com>" in text
    )
    assert not {"\x1b", "\x07"} & set(text)


def test_graph_and_head_are_two_questions(line):
    assert "either" in line.luna("log", "--graph", "--head", code=2).stderr


def test_a_long_line_asks_git_as_often_as_a_short_one(long, line, tmp_path):
    def processes(repo: Repo, *arguments: str) -> int:
        trace = tmp_path / "trace"
        trace.unlink(missing_ok=True)
        repo.luna(*arguments, env={"GIT_TRACE": str(trace)})
        return trace.read_text().count("trace: built-in")

    for arguments in (("log",), ("log", "--graph"), ("log", "--head"), ("status",)):
        assert processes(long, *arguments) <= processes(line, *arguments) <= 10, arguments
    assert processes(long, "verify", "--quick", "--all") <= 25


def test_the_long_line_is_a_line_like_any_other(long):
    rows = long.json("log")
    assert {row["state"] for row in rows} == {"base", "promoted", "denied", "rolled back", "HEAD"}
    head = rows[-1]
    assert long.json("status")["head"] == next(row["name"] for row in rows if row["head"])
    assert f"Weights-SHA256: {head['weights_sha256']}" in long.git(
        "tag", "-l", "--format=%(contents)", head["name"]
    )
    assert any("Rollback" in move["why"] for move in long.json("log", "--head"))
    assert long.git("fsck") == "" and long.git("status", "--porcelain") == ""
    assert ": whole" in long.luna("verify", "--all", "--remote").stdout
    long.luna("restore", "HEAD")
    graph = long.luna("log", "--graph").stdout
    assert len(graph.splitlines()) == 121 and max(map(len, graph.splitlines())) < 140


def test_a_row_that_does_not_parse_is_marked_and_the_tag_speaks_for_it(line, tmp_path):
    mine = line.copy(tmp_path / "mine")
    rows = (mine.path / "lineage.csv").read_text().splitlines()
    mine.forge(
        {"lineage.csv": "\n".join([*rows[:3], "2,1,\x00garbage,nan", rows[4], rows[4]]) + "\n"}
    )
    done = mine.luna("log", code=1)
    assert (
        "line 4 is not a row" in done.stderr
        and "line 6 is not a row" in done.stderr
        and "denied" in done.stdout
    )
    found = mine.luna("log", "--json", code=1).stdout
    entry = json.loads(found)[2]
    assert (entry["state"], entry["parent"], entry["eval_recall"], entry["weights_sha256"]) == (
        "denied",
        1,
        0.0,
        None,
    ) and "no readable row" in entry["fault"]
    assert "├─✗ G002" in mine.luna("log", "--graph", code=1).stdout
    done = mine.luna("report", "-o", "page.html")
    assert (
        "1 of the generations" in done.stderr
        and "line 4 is not a row" in (mine.path / "page.html").read_text()
    )
    # Parents come from the seals, so both can answer; what is in doubt is named beside it.
    for arguments, code in (
        (("bisect", "Who?", "--expect", "x"), 1),  # no generation says so: no change was found
        (("blame", "What is the island word number 1?"), 0),
    ):
        assert "luna repair" in mine.luna(*arguments, code=code).stderr, arguments
    mine.forge({"lineage.csv": "something else\n"})
    assert "header" in mine.luna("log", code=2).stderr


@pytest.mark.parametrize(
    "damage",
    [
        "2,1",
        "x,base" + "," * 12,
        "1,1" + ",a" * 3 + ",1,1,,,,,1,true,t",
        "1,0,a,b,c,1,nan,,,,,1,true,t",
        "1,0,a,b,c,1,1,inf,,,,1,true,t",
        '"',
        "-1,base,a,b,c,1,1,,,,,1,true,t",
    ],
)
def test_rows_that_are_none(damage):
    good = ledger.dumps(
        [ledger.Row(0, "base", "a", "b", "c", 0, 0.0, None, 0.0, 0.0, 1.0, 100.0, True, "t")]
    )
    rows, faults = ledger.scan(good + damage + "\n")
    assert [row.gen for row in rows] == [0] and [fault.line for fault in faults] == [3]
    with pytest.raises(InputError, match="line 3"):
        ledger.loads(good + damage + "\n")


@given(st.text(max_size=300))
def test_any_text_is_a_ledger_or_an_error(text):
    header = ",".join(ledger.COLUMNS) + "\n"
    rows, faults = ledger.scan(header + text)
    assert len(rows) + len(faults) == len((header + text).splitlines()) - 1


@st.composite
def trees(draw):
    count = draw(st.integers(1, 14))
    parents = {0: None} | {gen: draw(st.integers(0, gen - 1)) for gen in range(1, count)}
    head, line = draw(st.integers(0, count - 1)), []
    while head is not None:
        line.append(head)
        head = parents[head]
    return parents, line[::-1], sorted(draw(st.sets(st.integers(0, count - 1))) | set(line))


def traced(rows: list[str], row: int) -> int | None:
    """The parent that the drawing gives to the node of this row, by following its line."""

    def is_node(at: int, column: int) -> bool:
        return rows[at][column] == "N"

    column = rows[row].index("N")
    if column and rows[row][column - 1] == "─":
        column -= 1
        while rows[row][column] in "─┼":
            column -= 1
        assert rows[row][column] in "├╰"
    while row:
        row -= 1
        if is_node(row, column):
            return row
        if rows[row][column] in "╮┬":
            while not is_node(row, column):
                column -= 1
                assert rows[row][column] in "─┼┬N", rows
            return row
        assert rows[row][column] in "│├┼", rows
    return None


@given(trees())
def test_whoever_follows_the_lines_finds_the_parents(tree):
    parents, line, promoted = tree
    places = lay_out(parents, line, promoted)
    assert all(places[gen].lane == 0 for gen in line)
    rows = as_text(places, dict.fromkeys(parents, "N"))
    assert {gen: traced(rows, gen) for gen in parents} == parents, "\n".join(rows)


def test_the_generator_is_refused_a_folder_that_is_there(long, tmp_path):
    with pytest.raises(FileExistsError):
        long_line.make(Path(long.path).parent, 3)
