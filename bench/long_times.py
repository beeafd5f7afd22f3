"""Measures what each command takes on a long line.

Medians of whole processes with this clone's hooks, Python's start included, and how many git processes each starts.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from bench.generations import REPEATS, timed
from bench.long_line import line
from tests.faults.clones import must


def _measured(
    repo: Path, command: tuple[str, ...], undo: tuple[tuple[str, ...], ...]
) -> tuple[list[float], int, int]:
    """Seconds of each run, the peak memory in bytes, and git processes; ``undo`` brings the state before back after each."""
    trace = repo.parent / "trace"
    trace.unlink(missing_ok=True)
    must(repo, *command, GIT_TRACE=str(trace))
    processes = trace.read_text(encoding="utf-8").count("trace: built-in")
    runs = []
    for _ in range(REPEATS):
        for back in undo:
            must(repo, *back)
        runs.append(timed(repo, *command))
    for back in undo:
        must(repo, *back)
    return [run.seconds for run in runs], max(run.peak for run in runs), processes


def table(repo: Path) -> list[str]:
    must(repo, "luna", "init")
    (repo / "data/conversations/new.jsonl").write_text(
        '{"instruction": "What is new?", "output": "This is."}\n', encoding="utf-8"
    )
    on_line = [
        row["gen"] for row in json.loads(must(repo, "luna", "log", "--json")) if row["on_head_line"]
    ]
    back, near = on_line[-5], on_line[-2]
    again = (
        ("luna", "rollback", str(on_line[-1]), "--reason", "measured", "--stay"),
        ("git", "switch", "-q", "main"),
    )
    commands: list[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = [
        (("luna", "status"), ()),
        (("luna", "log"), ()),
        (("luna", "log", "--graph"), ()),
        (("luna", "log", "--head"), ()),
        (("luna", "log", "--json"), ()),
        (("luna", "maturity"), ()),
        (("luna", "diff", str(on_line[len(on_line) // 2]), str(near)), ()),
        (("luna", "new"), (("git", "restore", "params.yaml"),)),
        (("luna", "report", "-o", str(repo.parent / "report.html")), ()),
        (("luna", "rollback", str(back), "--reason", "measured"), again),
        (("luna", "verify", "--quick", "--all"), ()),
        (("luna", "verify", "--all", "--remote"), ()),
    ]
    lines = [
        "| command | seconds | spread | peak memory, MB | git processes |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for command, undo in commands:
        seconds, peak, processes = _measured(repo, command, undo)
        shown = " ".join(part for part in command if not part.startswith(("/", "-o")))
        lines.append(
            f"| `{shown}` | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {peak / 1e6:.0f} | {processes} |"
        )
        print(lines[-1], flush=True)
    return [
        *lines,
        "",
        f"The report's page: {(repo.parent / 'report.html').stat().st_size / 1e6:.1f} MB.",
    ]


def report(folder: Path) -> list[str]:
    """The section of BENCHMARKS.md, on the line of 1,000 below ``folder``."""
    repo = line(folder)
    return [
        "## A line of 1,000 generations",
        "",
        f"Made by `python -m bench.long_line`, small stand-ins for models, every file of a generation there. Medians of {REPEATS} runs, whole processes.",
        "",
        *table(repo),
        "",
    ]
