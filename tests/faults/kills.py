"""Kills commands at random instants, runs them again, and checks that nothing was lost.

Each kill works on a copy, and takes the whole process group. ``python -m bench.kills`` runs hundreds.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults.clones import copy, environment, run
from tests.faults.kept import Picture, faults
from tests.faults.states import States

_LATE = 1.1  # kills fall on up to this much of the undisturbed time: some find the command ended
_AFTER_LINE = 0.3  # seconds after an awaited line in which a kill falls


@dataclass(frozen=True)
class Case:
    """One command on one prepared state. ``done`` is what its repetition may say with exit code 2 when the work was done already.

    ``whole``: the state as which all must be after the repetition; for commands that mend.
    ``otherwise``: for DVC's own command, the one that goes on where DVC does not, since a file of its own was cut.
    """

    name: str
    command: tuple[str, ...]
    state: str = "line"
    done: str = ""
    whole: str = ""
    otherwise: tuple[str, ...] = ()


CASES = (
    Case("new", ("luna", "new"), "fed", done="is still being built"),
    Case("repro", ("dvc", "repro"), "changed", otherwise=("luna", "evolve")),
    Case("seal", ("luna", "seal"), "built"),
    Case("renumber", ("luna", "seal", "--renumber"), "overtaken"),
    Case(
        "rollback",
        ("luna", "rollback", "1", "--reason", "kills"),
        done="is the current best already",
    ),
    Case("archive", ("luna", "archive", "--all", "--remote", "second")),
    Case("repair", ("luna", "repair"), "damaged", whole="line"),
    Case("gc", ("luna", "gc", "--yes")),
    Case("thin", ("luna", "thin"), "ruled"),
    Case("bundle", ("luna", "bundle", "1", "--output", "../bundle.zip")),
    Case("restore", ("luna", "restore", "1"), "bare"),
    Case("snapshot", ("luna", "snapshot", "data", "--tag", "kills", "-m", "kept")),
)


@dataclass(frozen=True)
class Kill:
    """``hit``: the command was still running. ``line``: what it had written when the wait of ``instant`` seconds began, or None.

    ``seconds`` is the command's undisturbed time; ``faults``: what was lost or wrong, one sentence each.
    ``otherwise``: the same command did not go on, the case's other one did.
    """

    number: int
    command: str
    hit: bool
    line: str | None
    instant: float
    seconds: float
    faults: list[str]
    otherwise: bool = False

    def __str__(self) -> str:
        where = (
            f"{self.instant:.3f} s after {self.line!r}" if self.line else f"at {self.instant:.3f} s"
        )
        return f"{self.number + 1}: {self.command} {'killed' if self.hit else 'had ended'} {where} of {self.seconds:.1f} s, {'; '.join(self.faults) or 'no fault'}{', gone on with otherwise' if self.otherwise else ''}"


@dataclass
class Result:
    """All kills of a log, this run's and those before it."""

    done: list[Kill] = field(default_factory=list)

    @property
    def kills(self) -> Counter[str]:
        return Counter(kill.command for kill in self.done if kill.hit)

    @property
    def late(self) -> Counter[str]:
        return Counter(kill.command for kill in self.done if not kill.hit)

    @property
    def faults(self) -> list[str]:
        return [
            f"{kill.number + 1}: {kill.command}: {fault}"
            for kill in self.done
            for fault in kill.faults
        ]

    def __str__(self) -> str:
        otherwise = sum(kill.otherwise for kill in self.done)
        return (
            f"{self.kills.total()} kills of running commands ({', '.join(f'{name} {times}' for name, times in sorted(self.kills.items()))}), "
            f"{self.late.total()} came after the end; {len(self.faults)} faults{f'; {otherwise} times DVC did not go on, and luna evolve did' if otherwise else ''}"
        )


def _afterwards(case: Case, repo: Path, goal: Picture) -> list[str]:
    """What must hold when the repetition is done, besides that nothing is lost."""
    found = []
    if case.name in ("seal", "renumber") and run(repo, "git", "status", "--porcelain").stdout:
        found.append("sealed, and the working tree is not clean")
    if case.whole:
        if Picture.of(repo) != goal:
            found.append("tags, ledger or objects are not those of the whole line")
        done = run(repo, "luna", "verify", "--all", "--remote")
        found += [f"verify: {row}" for row in done.stdout.splitlines() if row.startswith("DAMAGE")]
        if not [
            path
            for folder in (repo, repo.parent / "cold")
            for path in (folder / "quarantine").rglob("*")
            if path.is_file()
        ]:
            found.append("what was damaged was not put aside")
    if case.name == "thin" and Picture.of(repo).thinned:
        done = run(repo, "luna", "rebuild", "1", "--check")
        found += (
            [f"what was thinned does not come back: {done.stdout}{done.stderr}"]
            if done.returncode
            else []
        )
    return found


@dataclass(frozen=True)
class Undisturbed:
    """``seconds`` it took, and how many ``lines`` it wrote."""

    seconds: float
    lines: int


def undisturbed(case: Case, state: Path, folder: Path) -> Undisturbed:
    repo = copy(state, folder / "copy")
    started = time.monotonic()
    done = subprocess.run(
        case.command,
        cwd=repo,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(case.command)} failed undisturbed: {done.stdout[-2000:]}")
    shutil.rmtree(folder / "copy")
    return Undisturbed(seconds, len(done.stdout.splitlines()))


def kill(
    number: int,
    case: Case,
    state: Path,
    goal: Picture | None,
    folder: Path,
    chance: random.Random,
    usual: Undisturbed,
) -> Kill:
    """One kill, the checks, the repetition, the checks again."""
    shutil.rmtree(folder / "copy", ignore_errors=True)  # a run that was cut off may have left one
    repo = copy(state, folder / "copy")
    before = Picture.of(repo)
    goal = goal or before
    process = subprocess.Popen(
        case.command,
        cwd=repo,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    row = None
    if usual.lines and chance.random() < 0.5:
        for _ in range(chance.randint(1, usual.lines)):
            row = process.stdout.readline() or row
        instant = chance.random() * _AFTER_LINE
    else:
        instant = chance.random() * usual.seconds * _LATE
    time.sleep(instant)
    hit = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    found = faults(repo, before, goal)
    again = run(repo, *case.command)
    if otherwise := bool(again.returncode and case.otherwise):
        again = run(repo, *case.otherwise)
    if again.returncode and not (case.done and case.done in again.stderr):
        found.append(f"the repetition failed: {(again.stderr + again.stdout).strip()[-400:]}")
    found += [
        f"after the repetition: {fault}"
        for fault in faults(repo, before, goal) + _afterwards(case, repo, goal)
    ]
    shutil.rmtree(folder / "copy")
    return Kill(
        number,
        case.name,
        hit,
        re.sub(r"\s+", " ", row.strip())[:100] if row else None,
        round(instant, 3),
        round(usual.seconds, 2),
        found,
        otherwise,
    )


def kills(
    line: Path,
    count: int,
    seed: int,
    only: set[str] | None = None,
    thinned: bool = False,
    log: Path | None = None,
    states: Path | None = None,
    until: float | None = None,
) -> Result:
    """Those of ``count`` kills that the ``log`` lacks, until the monotonic clock says ``until``."""
    result = Result(
        [Kill(**json.loads(row)) for row in log.read_text(encoding="utf-8").splitlines()]
        if log and log.exists()
        else []
    )
    past = {(kill.number, kill.command) for kill in result.done}
    cases = [case for case in CASES if not only or case.name in only]
    with tempfile.TemporaryDirectory(dir=line.parent.parent) as temporary:
        folder = states or Path(temporary)
        prepared = States(line, folder, thinned)
        usual: dict[str, Undisturbed] = {}
        for number in range(count):
            case = cases[number % len(cases)]
            if (number, case.name) in past:
                continue
            if until is not None and time.monotonic() > until:
                break
            state = prepared.get(case.state)
            if case.name not in usual:
                usual[case.name] = undisturbed(case, state, Path(temporary))
            goal = Picture.of(prepared.get(case.whole)) if case.whole else None
            done = kill(
                number,
                case,
                state,
                goal,
                Path(temporary),
                random.Random(f"{seed}/{number}"),
                usual[case.name],
            )
            result.done.append(done)
            print(done, file=sys.stderr, flush=True)
            if log:
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(done)) + "\n")
    return result
