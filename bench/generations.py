"""Measures the README's story: three generations stage by stage, then looking and going back."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import project
from luna import files

SOURCE = project.SOURCE
STAGES = ("base", "prep", "keyframe", "train", "export", "evaluate", "promote")
REPEATS = 5


@dataclass(frozen=True)
class Run:
    """Wall-clock ``seconds`` of a whole process, and the peak resident memory of its largest child in bytes."""

    seconds: float
    peak: int


def timed(repo: Path, *command: str, code: int = 0) -> Run:
    """Run in a child of its own, so that the peak is this command's and no earlier one's. ``code`` is the exit code that it must have."""
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    read, write = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        with Path(os.devnull).open("wb") as null:
            done = subprocess.run(command, cwd=repo, env=env, stdout=null, stderr=null).returncode
        os.write(
            write,
            f"{done} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}".encode(),
        )
        os._exit(0)
    os.waitpid(child, 0)
    seconds = time.monotonic() - started
    done, peak = map(int, os.read(read, 100).split())
    os.close(read)
    os.close(write)
    if done != code:
        raise SystemExit(f"{' '.join(command)} failed in {repo} (exit code {done})")
    return Run(seconds, peak)


def median(repo: Path, *command: str) -> float:
    return statistics.median(timed(repo, *command).seconds for _ in range(REPEATS))


def make_repo(folder: Path) -> Path:
    """The project as it is now, as a fresh repository with its own cold storage."""
    repo = folder / "luna"
    project.copy(repo)
    for command in project.beginning(folder / "cold"):
        timed(repo, *command)
    return repo


def line(folder: Path) -> tuple[Path, list[dict[str, Run]]]:
    """Three generations in a repository below ``folder``, and the runs of each by step name; built once."""
    home = folder / "generations"
    repo, saved = home / "luna", home / "runs.json"
    if saved.is_file():
        return repo, [
            {step: Run(**run) for step, run in runs.items()} for runs in files.read_json(saved)
        ]
    shutil.rmtree(home, ignore_errors=True)
    make_repo(home)
    generations = []
    for number in range(3):
        if number == 2:
            shutil.copy(
                repo / "data/examples/02-the-winter-ferry.jsonl", repo / "data/conversations"
            )
        runs = {"new": timed(repo, "luna", "new")}
        for stage in STAGES:
            runs[stage] = timed(repo, "dvc", "repro", "-s", stage)
        runs["seal"] = timed(repo, "luna", "seal")
        print(
            f"generation {number}: "
            + ", ".join(f"{step} {run.seconds:.1f} s" for step, run in runs.items()),
            flush=True,
        )
        generations.append(runs)
    files.write_json(
        saved, [{step: asdict(run) for step, run in runs.items()} for runs in generations]
    )
    return repo, generations


def copy(folder: Path, name: str) -> Path:
    """The line's repository and its cold storage, copied to FOLDER/NAME: for what changes a line."""
    home = folder / name
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(folder / "generations", home, symlinks=True)
    timed(home / "luna", "dvc", "remote", "modify", "--local", "cold", "url", str(home / "cold"))
    return home / "luna"


def report(folder: Path) -> list[str]:
    import json

    repo, generations = line(folder)
    logged = subprocess.run(
        [str(Path(sys.executable).parent / "luna"), "log", "--json"],
        cwd=repo,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(logged.stdout)
    steps = list(generations[0])
    lines = [
        "## Generations of the 135M model",
        "",
        "Seconds of each whole command, Python's start included (`dvc repro -s STAGE`).",
        "",
        "| generation | " + " | ".join(steps) + " | all | all but train and evaluate |",
        "| --- |" + " ---: |" * (len(steps) + 2),
    ]
    for row, runs in zip(rows, generations, strict=True):
        total = sum(run.seconds for run in runs.values())
        other = total - runs["train"].seconds - runs["evaluate"].seconds
        lines.append(
            f"| G{row['gen']:03d} | "
            + " | ".join(f"{run.seconds:.1f}" for run in runs.values())
            + f" | {total:.0f} | {other:.0f} |"
        )
    first = sum(run.seconds for runs in generations[:2] for run in runs.values())
    other = sum(
        run.seconds
        for runs in generations[:2]
        for step, run in runs.items()
        if step not in ("train", "evaluate")
    )
    lines += [
        "",
        f"What the first `make generation` does after set-up (G000 and G001): {first:.0f} s, of which neither training nor answering {other:.0f} s.",
        "",
        "| generation | recall | generalisation | tone drift | weights changed | verdict |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| G{row['gen']:03d} | {row['eval_recall']:.3f} | {row['eval_generalize']:.3f} | {row['eval_tone']:.3f} | {row['weight_change']:g} % | {'promoted' if row['promoted'] else 'denied'} |"
        for row in rows
    ]
    lines += [
        "",
        "Peak resident memory of each stage, the largest of the three generations (MB): "
        + ", ".join(
            f"{step} {max(runs[step].peak for runs in generations) / 1e6:.0f}" for step in STAGES
        )
        + ".",
        "",
    ]
    back, forth = [], []
    for _ in range(REPEATS):
        back.append(timed(repo, "git", "checkout", "-q", rows[1]["name"]).seconds)
        forth.append(timed(repo, "git", "switch", "-q", "main").seconds)
    lines += [
        "## Looking and going back",
        "",
        f"Medians of {REPEATS} runs, whole processes.",
        "",
        "| command | seconds |",
        "| --- | ---: |",
        f"| `git checkout` of G001 (145 MB model, hooks included) | {statistics.median(back):.2f} |",
        f"| `git switch main` | {statistics.median(forth):.2f} |",
        f"| `luna status` | {median(repo, 'luna', 'status'):.2f} |",
        f"| `luna log` | {median(repo, 'luna', 'log'):.2f} |",
        f"| `dvc repro` with nothing to do | {median(repo, 'dvc', 'repro'):.2f} |",
        "",
    ]
    return lines
