"""python -m bench.kills LINE [--count 200] [--seed 7] [--only seal gc]: SIGKILL at random instants, then the same command again.

LINE is a clone with at least two promoted generations and its cold storage as the default remote 'cold' in the
folder beside it (as tests/conftest.py builds it). Each kill works on a copy, and takes the whole
process group. Some kills wait for a step that the command announces, the others for a random instant of
the time that the command took undisturbed. After the kill, and again after the repetition, it is asserted that
every sealed tag, every object in cold storage and every ledger row is as before, and that the head
names a sealed generation that passed the rule.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_LATE = 1.1  # kills fall on up to this much of the undisturbed time: some find the command ended


@dataclass(frozen=True)
class Case:
    """One command on one prepared state. ``done`` is what its repetition may say with exit code 2 when the work was done already."""

    name: str
    command: tuple[str, ...]
    state: str = "line"
    steps: tuple[str, ...] = ()
    done: str = ""


CASES = (
    Case("new", ("luna", "new"), "fed", done="is still being built"),
    Case("repro", ("dvc", "repro"), "changed"),
    Case("seal", ("luna", "seal"), "built", ("seal: archiving", "seal: committing")),
    Case("rollback", ("luna", "rollback", "1", "--reason", "kills"), done="is the current best already"),
    Case("archive", ("luna", "archive", "--all", "--remote", "second")),
    Case("gc", ("luna", "gc", "--yes")),
    Case("bundle", ("luna", "bundle", "1", "--output", "../bundle.zip")),
    Case("restore", ("luna", "restore", "1"), "bare"),
    Case("snapshot", ("luna", "snapshot", "data", "--tag", "kills", "-m", "kept"), steps=("snapshot: archiving", "snapshot: tagging")),
)


@dataclass
class Result:
    """``kills`` that hit a running command; ``faults``: what was lost or wrong, one sentence each."""

    kills: Counter = field(default_factory=Counter)
    late: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def _environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


def run(repo: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=repo, env=_environment(), capture_output=True, text=True)


def must(repo: Path, *command: str) -> str:
    done = run(repo, *command)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return done.stdout


def copy(repo: Path, to: Path) -> Path:
    shutil.copytree(repo.parent, to, symlinks=True)
    other = to / repo.name
    must(other, "dvc", "remote", "modify", "--local", "cold", "url", str(to / "cold"))
    must(other, "dvc", "remote", "add", "--force", "--local", "second", str(to / "second"))
    return other


def prepare(line: Path, folder: Path, wanted: set[str]) -> dict[str, Path]:
    """The states from which commands start; each built once."""
    states = {"line": copy(line, folder / "line")}
    must(states["line"], "luna", "seal")  # completes a line that was made by an older Luna
    rows = [{"instruction": f"What is kill number {i}?", "output": f"It is kill{i}."} for i in range(6)]
    if wanted & {"fed", "built", "changed"}:
        states["fed"] = copy(states["line"], folder / "fed")
        (states["fed"] / "data/conversations/kills.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if wanted & {"built", "changed"}:
        states["built"] = copy(states["fed"], folder / "built")
        must(states["built"], "luna", "new")
        must(states["built"], "dvc", "repro")
    if "changed" in wanted:
        states["changed"] = copy(states["built"], folder / "changed")
        path = states["changed"] / "params.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("min_probes: 5", "min_probes: 6"), encoding="utf-8")
    if "bare" in wanted:
        states["bare"] = copy(states["line"], folder / "bare")
        shutil.rmtree(states["bare"] / ".dvc/cache")
    return states


@dataclass(frozen=True)
class Picture:
    """What may never be lost: tags, the ledger of the tip, and names of the objects in cold storage."""

    tags: dict[str, str]
    ledger: str
    objects: set[str]

    @classmethod
    def of(cls, repo: Path) -> Picture:
        rows = must(repo, "git", "for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/tags").splitlines()
        return cls(dict(row.split(" ") for row in rows), must(repo, "git", "show", "main:lineage.csv"), {path.parent.name + path.name for path in _objects(repo.parent / "cold")})


def _objects(store: Path) -> list[Path]:
    return [path for path in (store / "files").rglob("*") if path.is_file() and not path.name.endswith(".tmp")]


def faults(repo: Path, before: Picture) -> list[str]:
    now = Picture.of(repo)
    found = [f"tag {name} is lost or moved" for name, value in before.tags.items() if not name.endswith("-GHEAD") and now.tags.get(name) != value]
    if not now.ledger.startswith(before.ledger):
        found.append("the ledger is damaged")
    if missing := before.objects - now.objects:
        found.append(f"{len(missing)} objects are gone from cold storage")
    for store in ("cold", "second"):
        found += [f"{path} is not what its name says" for path in _objects(repo.parent / store)
                  if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != (path.parent.name + path.name).removesuffix(".dir")]
    head = must(repo, "git", "rev-parse", "Luna-GHEAD^{}").strip()
    named = [name for name in now.tags if "-G" in name and not name.endswith("-GHEAD") and must(repo, "git", "rev-parse", f"{name}^{{}}").strip() == head]
    if len(named) != 1 or "Verdict: promoted" not in must(repo, "git", "cat-file", "tag", named[0]):
        found.append("the head names no generation that passed the rule")
    return found


def kill(case: Case, state: Path, folder: Path, chance: random.Random, seconds: float, result: Result) -> None:
    """One kill, the checks, the repetition, the checks again."""
    repo = copy(state, folder / "copy")
    before = Picture.of(repo)
    process = subprocess.Popen(case.command, cwd=repo, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    step = chance.choice(case.steps) if case.steps and chance.random() < 0.5 else None
    if step:
        while (row := process.stdout.readline()) and step not in row:
            pass
        instant = chance.random() * 0.3
    else:
        instant = chance.random() * seconds * _LATE
    time.sleep(instant)
    (result.kills if process.poll() is None else result.late)[case.name] += 1
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()
    where = f"{case.name} at {f'{step!r} + ' if step else ''}{instant:.3f} s of {seconds:.2f} s"
    result.faults += [f"{where}: {fault}" for fault in faults(repo, before)]
    again = run(repo, *case.command)
    if again.returncode and not (case.done and case.done in again.stderr):
        result.faults.append(f"{where}: the repetition failed: {(again.stderr + again.stdout).strip()[-400:]}")
    result.faults += [f"{where}, after the repetition: {fault}" for fault in faults(repo, before)]
    if case.name == "seal" and run(repo, "git", "status", "--porcelain").stdout:
        result.faults.append(f"{where}: sealed, and the working tree is not clean")
    shutil.rmtree(folder / "copy")


def kills(line: Path, count: int, seed: int, only: set[str] | None = None) -> Result:
    chance, result = random.Random(seed), Result()
    cases = [case for case in CASES if not only or case.name in only]
    with tempfile.TemporaryDirectory(dir=line.parent.parent) as temporary:
        folder = Path(temporary)
        states = prepare(line, folder, {case.state for case in cases})
        seconds = {}
        for number in range(count):
            case = cases[number % len(cases)]
            if case.name not in seconds:
                repo = copy(states[case.state], folder / "copy")
                started = time.monotonic()
                must(repo, *case.command)
                seconds[case.name] = time.monotonic() - started
                shutil.rmtree(folder / "copy")
            kill(case, states[case.state], folder, chance, seconds[case.name], result)
            print(f"{number + 1} of {count}: {case.name}, {len(result.faults)} faults", file=sys.stderr, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("line", type=Path, help="the clone whose copies are worked on")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES])
    given = parser.parse_args()
    started = time.monotonic()
    result = kills(given.line.resolve(), given.count, given.seed, set(given.only or ()))
    for fault in result.faults:
        print(fault)
    hit, late = sum(result.kills.values()), sum(result.late.values())
    print(f"{hit} kills of running commands ({', '.join(f'{name} {times}' for name, times in sorted(result.kills.items()))}), {late} came after the end; "
          f"{len(result.faults)} faults; seed {given.seed}, {time.monotonic() - started:.0f} s")
    sys.exit(1 if result.faults else 0)


if __name__ == "__main__":
    main()
