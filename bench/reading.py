"""Times `luna verify --all --remote` beside `sha256sum` over the same files.

A line of few generations with large random models, in the cache and in cold storage: both commands read
every object in both places. The runs alternate and whole processes are timed. The folder needs twice the room of
the models, and as much memory for the system to keep them in.
"""

from __future__ import annotations

import mmap
import os
import shutil
import statistics
from pathlib import Path

from bench.generations import Run, timed
from bench.long_line import make

GENERATIONS = 6
REPEATS = 3
GIGABYTES = 3.0  # of models
_MB = 1 << 20


def line(folder: Path, gigabytes: float) -> Path:
    """The repository; its models are windows on one file of random bytes, each an odd step further."""
    folder.mkdir(parents=True)
    size = int(gigabytes * 1e9 / GENERATIONS)
    source = folder / "random"
    with source.open("wb") as file:
        for _ in range(0, size + _MB * GENERATIONS, _MB):
            file.write(os.urandom(_MB))
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        windows = [
            memoryview(whole)[number * 4096 : number * 4096 + size] for number in range(GENERATIONS)
        ]
        repo = make(folder / "line", GENERATIONS, lambda number: windows[number])
        for window in windows:
            window.release()
    source.unlink()
    return repo


def measure(repo: Path) -> tuple[list[Run], list[Run], int]:
    """Alternating runs of (sha256sum, luna verify), and the bytes that each reads."""
    files = [
        path
        for folder in (repo / ".dvc/cache/files", repo.parent / "cold/files")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    runs: tuple[list[Run], list[Run]] = [], []
    for _ in range(REPEATS):
        runs[0].append(timed(repo, "sha256sum", "--", *map(str, files)))
        runs[1].append(timed(repo, "luna", "verify", "--all", "--remote"))
    return *runs, sum(path.stat().st_size for path in files)


def report(folder: Path, gigabytes: float = GIGABYTES) -> list[str]:
    home = folder / "reading"
    shutil.rmtree(home, ignore_errors=True)
    repo = line(home, gigabytes)
    plain, ours, size = measure(repo)
    lines = [
        "## Reading everything back",
        "",
        f"{size / 1e9:.1f} GB in {GENERATIONS} generations, in the cache and in cold storage on the same disk, medians of {REPEATS} alternating runs, whole processes.",
        "",
        "| command | seconds | spread | GB a second | peak memory, MB |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    shutil.rmtree(home)
    medians = []
    for name, runs in (
        ("`sha256sum` of all objects", plain),
        ("`luna verify --all --remote`", ours),
    ):
        seconds = [run.seconds for run in runs]
        medians.append(statistics.median(seconds))
        lines.append(
            f"| {name} | {medians[-1]:.1f} | {min(seconds):.1f} to {max(seconds):.1f} | {size / 1e9 / medians[-1]:.2f} | {max(run.peak for run in runs) / 1e6:.0f} |"
        )
    return [
        *lines,
        "",
        f"Luna reads at {medians[0] / medians[1]:.2f} times the speed of `sha256sum`: MD5 and SHA-256 of the first copy in one pass, SHA-256 of the other, two cores.",
        "",
    ]
