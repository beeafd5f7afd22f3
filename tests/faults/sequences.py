"""Draws random git, DVC and luna commands, and checks what verify says afterwards.

``python -m bench.sequences`` runs hundreds, and its help says what is asked after each.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.clones import must
from tests.faults.kept import objects
from tests.faults.steps import World, cold_back, draw

_STEPS = (2, 6)  # in one sequence
_ROUNDS = 14  # of advice that is followed
_GENERATION = re.compile(r"-G\d{3,}-\d{8}-\d{6}$")
_COMMAND = re.compile(r"'((?:luna|git|dvc) [^']*)'|(?:^|: |; |, |or )((?:luna|git) [a-z][^;,.()]*)")
_PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b(?!-)|\.\.\.")
_GOOD_NEWS = ("luna evolve", "add conversations", "dvc repro", "luna chat")


@dataclass
class Truth:
    """Immutable tags with their objects, as they were when they were sealed, and what each sealed generation is made of."""

    tags: dict[str, str] = field(default_factory=dict)
    ledgers: dict[str, str] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)

    def learn(self, repo: Path) -> None:
        """What has been sealed in ``repo`` since; what is known already stays as it was."""
        recorded = _quiet(repo, "git", "cat-file", "blob", "refs/luna/record:record.jsonl")
        for row in recorded.splitlines():
            try:
                entry = json.loads(row)
            except ValueError:
                continue
            if entry["tag"] in self.tags:
                continue
            self.tags[entry["tag"]] = entry["object"]
            if _GENERATION.search(entry["tag"]):
                self._learn_generation(repo, entry["tag"], entry["object"])

    def _learn_generation(self, repo: Path, name: str, tag: str) -> None:
        self.ledgers[name] = _quiet(repo, "git", "show", f"{tag}^{{}}:lineage.csv")
        lock = _quiet(repo, "git", "show", f"{tag}^{{}}:dvc.lock")
        pipeline = _quiet(repo, "git", "show", f"{tag}^{{}}:dvc.yaml")
        from luna.history.line import outs_of

        for out in outs_of(lock.encode(), pipeline.encode()).values():
            if out.cached:
                self.objects.add(out.md5)

    def faults(self, world: World) -> list[str]:
        """What is not as it was sealed: a sentence each."""
        rows = _quiet(
            world.repo,
            "git",
            "for-each-ref",
            "--format=%(refname:strip=2) %(objectname)",
            "refs/tags",
        ).splitlines()
        now = dict(row.split(" ") for row in rows)
        faults = [
            f"tag {tag} is {'moved' if tag in now else 'gone'}"
            for tag, value in self.tags.items()
            if now.get(tag) != value
        ]
        return faults + self.lost(world)

    def lost(self, world: World) -> list[str]:
        """Objects that no place holds whole, and objects in cold storage that are not what they are named after."""
        faults = []
        there = objects(world.cold if world.cold.exists() else world.folder / "cold-away")
        faults += [
            f"cold storage holds other bytes under {md5}" for md5, good in there.items() if not good
        ]
        faults += [
            f"{md5} is gone from cold storage" for md5 in sorted(self.objects - there.keys())
        ]
        return faults


def _quiet(repo: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=repo, capture_output=True, encoding="utf-8", errors="surrogateescape"
    )
    return done.stdout


@dataclass
class Outcome:
    """``faults`` is empty where all three questions are answered well."""

    number: int
    steps: int
    faults: list[str]
    log: list[str]


def sequence(line: Path, number: int, seed: int, keep: Path | None) -> Outcome:
    """One sequence on a copy of ``line``, and the three questions. Where one is answered badly, the world is copied to ``keep``."""
    chance = random.Random(f"{seed}/{number}")
    folder = Path(tempfile.mkdtemp(prefix=f"sequence-{number}-"))
    try:
        world = _world(line, folder / "w", chance)
        truth = Truth()
        truth.learn(world.repo)
        count = chance.randint(*_STEPS)
        for _ in range(count):
            step = draw(chance)
            world.log.append(f"- {step.__name__.strip('_')}")
            step(world, chance)
            truth.learn(world.repo)
        cold_back(world)
        faults = truth.lost(world)
        faults += _tells_the_truth(world, truth)
        faults += _advice_leads_back(world, truth)
        outcome = Outcome(number, count, faults, world.log)
    except Exception:  # a fault of this program, or a command that hangs: it counts
        outcome = Outcome(number, 0, [traceback.format_exc()[-1500:]], [])
    if keep and outcome.faults:
        shutil.copytree(folder, keep / str(number), symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _world(line: Path, folder: Path, chance: random.Random) -> World:
    shutil.copytree(line.parent, folder, symlinks=True)
    world = World(folder, folder / line.name, chance.random() < 0.4)
    must(world.repo, "dvc", "remote", "modify", "--local", "cold", "url", str(world.cold))
    if world.shared:
        bare = folder / "origin.git"
        must(world.repo, "git", "init", "-q", "--bare", "-b", "main", str(bare))
        must(world.repo, "git", "remote", "add", "origin", str(bare))
        must(world.repo, "git", "config", "luna.pushRemote", "origin")
        must(
            world.repo,
            "git",
            "push",
            "-q",
            "--no-verify",
            "origin",
            "main",
            "refs/tags/*:refs/tags/*",
            "refs/luna/*:refs/luna/*",
        )
        must(world.repo, "luna", "init")
    return world


def _verify(world: World) -> tuple[int, dict, str]:
    done = world.run("luna", "verify", "--all", "--remote", "--json")
    try:
        return done.returncode, json.loads(done.stdout), done.stderr
    except ValueError:
        return done.returncode, {}, done.stderr


def _tells_the_truth(world: World, truth: Truth) -> list[str]:
    """Whole only where all is whole. (It may name more than this program looks at.)"""
    code, _, complaint = _verify(world)
    if "Traceback" in complaint:
        return [f"verify: {complaint[-600:]}"]
    wrong = truth.faults(world)
    return [f"verify says whole, but {wrong[0]}"] if code == 0 and wrong else []


def _advice(text: str, world: World) -> list[str]:
    """The commands that a sentence names, with what the person knows (where cold storage is) put in."""
    commands = []
    for quoted, bare in _COMMAND.findall(text):
        command = (quoted or bare).partition(", ")[0].partition(" (")[0].strip().rstrip(".:")
        command = re.sub(
            r"^(luna cold) (PATH_OR_URL|PATH|FOLDER|STORE)\b.*", rf"\1 {world.cold}", command
        )
        command = command.replace('"why"', "why").replace('"..."', "why")
        if not _PLACEHOLDER.search(
            re.sub(r"Luna-G\S+|HEAD|G\d+", "", command).replace(str(world.cold), "")
        ):
            commands.append(command)
    if re.search(r"commit or stash|stash or commit", text):
        commands.append("git stash --include-untracked")
    return [command for command in commands if not command.startswith(_GOOD_NEWS)]


def _advice_leads_back(world: World, truth: Truth) -> list[str]:
    """Follow what the tool says, each command once per state, until it says that all is well."""
    tried: list[str] = []
    for _ in range(_ROUNDS):
        status = world.run("luna", "status", "--json")
        code, report, complaint = _verify(world)
        if "Traceback" in status.stderr + complaint:
            return [f"traceback: {(status.stderr + complaint)[-600:]}"]
        waiting: list[str] = []
        shown = json.loads(status.stdout) if status.returncode == 0 else {}
        if status.returncode:
            waiting += _advice(status.stderr, world)
        else:
            waiting += _advice(f"'{shown['next']}'", world)
        for finding in report.get("findings", []):
            if finding["severity"] == "damage":
                waiting += _advice(f"'{finding['mend']}'", world) + _advice(finding["mend"], world)
        if code and not report:
            waiting += _advice(complaint, world)
        if code == 0 and status.returncode == 0 and not waiting:
            break
        fresh = [command for command in waiting if tried.count(command) < 3]
        if not fresh:
            break
        tried.append(fresh[0])
        done = world.run(*_words(fresh[0]))
        if "Traceback" in done.stderr and fresh[0].startswith("luna"):
            return [f"{fresh[0]}: {done.stderr[-600:]}"]
        for further in _advice(done.stderr, world) if done.returncode else []:
            if tried.count(further) < 3:
                tried.append(further)
                world.run(*_words(further))
    truth.learn(world.repo)
    faults = truth.faults(world)
    code, report, complaint = _verify(world)
    if code:
        said = [
            finding["what"]
            for finding in report.get("findings", [])
            if finding.get("severity") == "damage"
        ][:2]
        faults.append(f"after all advice verify says {said or complaint[-300:]}")
    if not faults:
        faults += _begins(world)
    return faults


def _words(command: str) -> list[str]:
    import shlex

    if "&&" in command:
        return ["sh", "-c", command]
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _begins(world: World) -> list[str]:
    """The line can begin its next generation, or finish the one that was begun."""
    world.add_conversation()
    for _ in range(4):
        done = world.run("luna", "new", "--replace")
        if done.returncode == 0:
            return []
        further = _advice(done.stderr, world)
        if not further:
            break
        world.run(*_words(further[0]))
    return [f"the next generation cannot begin: {done.stderr.strip()[-300:]}"]
