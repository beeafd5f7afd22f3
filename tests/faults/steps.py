"""The steps that faults.sequences draws from: ordinary commands at unusual moments.

Each step takes the world and a source of chance, does what a person might do, and returns what it did in
words. None of them is right or wrong here: git, DVC and Luna may refuse, and a refusal is an answer.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.clones import environment

_KILL_WITHIN = {"evolve": 12.0, "new": 1.5, "seal": 3.0, "rollback": 2.0, "repair": 3.0}
_BESIDE_HOOKS = ("-c", "core.hooksPath=/dev/null")


@dataclass
class World:
    """A clone, its cold storage beside it and, in some worlds, a shared git repository. ``repo`` is the clone one works in now."""

    folder: Path
    repo: Path
    shared: bool
    conversations: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def cold(self) -> Path:
        return self.folder / "cold"

    def run(self, *command: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.repo,
            env=environment() | {"HOME": str(self.folder), "GIT_EDITOR": "true"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
        self.log.append(f"$ {' '.join(command)}  -> {done.returncode}")
        if done.returncode and "--json" not in command:
            self.log.append(f"    {(done.stderr.strip() or done.stdout.strip())[-400:]}")
        return done

    def tags(self) -> list[str]:
        rows = self.run("git", "tag", "--list", "*-G[0-9]*").stdout.split()
        return rows or ["Luna-G000"]

    def add_conversation(self) -> None:
        self.conversations += 1
        number = self.conversations
        row = {
            "messages": [
                {"role": "user", "content": f"Which stone number {number} lies at the quay?"},
                {"role": "assistant", "content": f"Aye, it is the flint{number}."},
            ],
            "expect": [f"flint{number}"],
            "paraphrases": [f"At the quay, stone {number} is called what?"],
        }
        path = self.repo / f"data/conversations/more-{number}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")


Step = Callable[[World, random.Random], object]


def _checkout_tag(world: World, chance: random.Random) -> None:
    world.run("git", "checkout", "-q", chance.choice(world.tags()))


def _files_of_tag(world: World, chance: random.Random) -> None:
    world.run("git", "checkout", chance.choice(world.tags()), "--", ".")


def _switch_back(world: World, chance: random.Random) -> None:
    world.run("git", "switch", "-q", chance.choice(["main", "-"]))


def _new_branch(world: World, chance: random.Random) -> None:
    world.run("git", "switch", "-q", "-c", f"try-{chance.randrange(1000)}")


def _rename_branch(world: World, chance: random.Random) -> None:
    world.run("git", "branch", "-m", chance.choice(["master", "trunk"]))


def _stash(world: World, chance: random.Random) -> None:
    world.run("git", "stash", *chance.choice([(), ("--include-untracked",)]))


def _stash_pop(world: World, chance: random.Random) -> None:
    world.run("git", "stash", "pop")


def _amend(world: World, chance: random.Random) -> None:
    world.run(
        "git",
        "commit",
        "--amend",
        "-q",
        *chance.choice([("--no-edit",), ("-m", "reworded"), ("--no-edit", "--no-verify")]),
    )


def _commit_all(world: World, chance: random.Random) -> None:
    world.run("git", "commit", "-qam", "what is here", *chance.choice([(), ("--no-verify",)]))


def _reset(world: World, chance: random.Random) -> None:
    world.run(
        "git",
        "reset",
        "-q",
        chance.choice(["--hard", "--soft", "--mixed"]),
        chance.choice(["HEAD", "HEAD~1", *world.tags()]),
    )


def _fetch(world: World, chance: random.Random) -> None:
    world.run(
        "git",
        "fetch",
        "-q",
        *chance.choice(
            [("--prune",), ("--tags",), ("--prune", "--prune-tags"), ("--tags", "--force")]
        ),
    )


def _pull(world: World, chance: random.Random) -> None:
    world.run("git", "pull", "-q", *chance.choice([(), ("--rebase",)]))


def _git_gc(world: World, chance: random.Random) -> None:
    world.run(
        "git",
        *chance.choice(
            [("gc", "-q"), ("gc", "-q", "--prune=now"), ("pack-refs", "--all"), ("repack", "-adq")]
        ),
    )


def _clean(world: World, chance: random.Random) -> None:
    world.run("git", "clean", chance.choice(["-fdq", "-fdxq"]), "-e", ".venv")


def _delete_tag(world: World, chance: random.Random) -> None:
    around = chance.random() < 0.5
    world.run(
        "git",
        *(_BESIDE_HOOKS if around else ()),
        "tag",
        "-d",
        chance.choice([*world.tags(), "Luna-GHEAD"]),
    )


def _move_tag(world: World, chance: random.Random) -> None:
    around = chance.random() < 0.5
    world.run(
        "git",
        *(_BESIDE_HOOKS if around else ()),
        "tag",
        "-f",
        "-a",
        "-m",
        "mine",
        chance.choice([*world.tags(), "Luna-GHEAD"]),
        "HEAD",
    )


def _edit(world: World, chance: random.Random) -> None:
    """One line of any tracked file is changed."""
    tracked = [
        name
        for name in world.run("git", "ls-files").stdout.splitlines()
        if (world.repo / name).is_file()
    ]
    wished = [
        name
        for name in tracked
        if name.startswith(("lineage", "params", "dvc.", "models/", "data/"))
    ]
    if not wished:
        return
    name = chance.choice(wished)
    path = world.repo / name
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    places = [index for index, letter in enumerate(text) if letter.isdigit()]
    if places:
        position = chance.choice(places)
        text = text[:position] + str((int(text[position]) + 1) % 10) + text[position + 1 :]
        path.unlink()
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    world.log.append(f"  edited {name}")


def _remove_file(world: World, chance: random.Random) -> None:
    name = chance.choice(
        [
            "lineage.csv",
            "dvc.lock",
            "models/metrics.json",
            "models/model.gguf",
            "models/adapter",
            "params.yaml",
        ]
    )
    path = world.repo / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    world.log.append(f"  removed {name}")


def _remove_cache(world: World, chance: random.Random) -> None:
    if any((world.cold).rglob("*.json")) or not (world.repo / ".dvc/cache").exists():
        shutil.rmtree(world.repo / ".dvc/cache", ignore_errors=True)
        world.log.append("  removed .dvc/cache")


def _move_cold_away(world: World, chance: random.Random) -> None:
    """As a disk that is not mounted: it comes back with the step that looks for it, or at the end."""
    if world.cold.exists() and not (world.folder / "cold-away").exists():
        world.cold.rename(world.folder / "cold-away")
        if chance.random() < 0.5:
            world.cold.mkdir()
        world.log.append("  the cold storage was taken away")


def cold_back(world: World) -> None:
    away = world.folder / "cold-away"
    if away.exists():
        if world.cold.exists():  # what was written where the disk was not is hidden under it
            world.cold.rename(world.folder / f"hidden-{len(world.log)}")
        away.rename(world.cold)
        world.log.append("  the cold storage is back")


def _cold_back(world: World, chance: random.Random) -> None:
    cold_back(world)


def _clone(world: World, chance: random.Random) -> None:
    """One goes on in a clone, which has the same cold storage."""
    flags = chance.choice(
        [
            (),
            ("--no-tags",),
            ("--depth", "1"),
            ("--filter=blob:none",),
            ("--single-branch",),
            ("--branch", "main"),
        ]
    )
    target = world.folder / f"clone-{len(world.log)}"
    source = f"file://{world.repo}"
    if world.run("git", "clone", "-q", *flags, source, str(target)).returncode:
        return
    world.repo = target
    world.run("git", "config", "user.name", "Tester")
    world.run("git", "config", "user.email", "tester@example.com")
    world.run("luna", "cold", str(world.cold))
    if chance.random() < 0.8:
        world.run("luna", "init")


def _exp(world: World, chance: random.Random) -> None:
    world.run(
        "dvc",
        "exp",
        "run",
        "-S",
        f"promotion.min_probes={chance.randrange(1, 9)}",
        *chance.choice([(), ("--temp",), ("--queue",)]),
    )


def _repro(world: World, chance: random.Random) -> None:
    world.run("dvc", "repro", *chance.choice([(), ("prep",), ("promote",), ("--pull",)]))


def _dvc(world: World, chance: random.Random) -> None:
    world.run(
        "dvc",
        *chance.choice(
            [
                ("checkout",),
                ("checkout", "--force"),
                ("status",),
                ("commit", "--force"),
                ("pull",),
                ("push",),
                ("gc", "-w", "-f"),
            ]
        ),
    )


def _new(world: World, chance: random.Random) -> None:
    world.add_conversation()
    world.run("luna", "new", *chance.choice([(), (), ("--replace",)]))


def _add(world: World, chance: random.Random) -> None:
    world.add_conversation()


def _evolve(world: World, chance: random.Random) -> None:
    world.add_conversation()
    world.run("luna", "evolve")


def _seal(world: World, chance: random.Random) -> None:
    world.run("luna", "seal", *chance.choice([(), (), ("--renumber",)]))


def _rollback(world: World, chance: random.Random) -> None:
    world.run(
        "luna",
        "rollback",
        chance.choice(["0", "1", "3"]),
        "--reason",
        "to see",
        *chance.choice([(), (), ("--stay",)]),
    )


def _restore(world: World, chance: random.Random) -> None:
    world.run("luna", "restore", chance.choice(world.tags()))


def _keep_safe(world: World, chance: random.Random) -> None:
    world.run(
        "luna",
        *chance.choice(
            [
                ("gc", "--yes"),
                ("archive", "--all"),
                ("snapshot", "data", "--tag", f"kept-{chance.randrange(100)}", "-m", "kept"),
                ("repair",),
                ("verify", "--all"),
                ("doctor",),
                ("init",),
            ]
        ),
    )


def _kill(world: World, chance: random.Random) -> None:
    """One of Luna's commands, and SIGKILL to all of it at a random instant."""
    name = chance.choice(list(_KILL_WITHIN))
    if name in ("evolve", "new"):
        world.add_conversation()
    words = ["luna", name, *(["1", "--reason", "kill"] if name == "rollback" else [])]
    with subprocess.Popen(
        words,
        cwd=world.repo,
        env=environment() | {"HOME": str(world.folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        after = chance.uniform(0.1, _KILL_WITHIN[name])
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    time.sleep(1.5)  # stages see within a second that their pipeline is gone
    world.log.append(f"$ {' '.join(words)}  killed after {after:.2f} s")


#: Each step and how often it is drawn; those that train are rare, since they take most of the time.
STEPS: dict[Step, float] = {
    _checkout_tag: 4,
    _files_of_tag: 4,
    _switch_back: 5,
    _new_branch: 2,
    _rename_branch: 1,
    _stash: 3,
    _stash_pop: 2,
    _amend: 3,
    _commit_all: 3,
    _reset: 3,
    _fetch: 3,
    _pull: 1,
    _git_gc: 3,
    _clean: 2,
    _delete_tag: 3,
    _move_tag: 2,
    _edit: 6,
    _remove_file: 3,
    _remove_cache: 2,
    _move_cold_away: 2,
    _cold_back: 2,
    _clone: 5,
    _exp: 1,
    _repro: 1,
    _dvc: 4,
    _new: 4,
    _add: 3,
    _evolve: 1.5,
    _seal: 4,
    _rollback: 4,
    _restore: 2,
    _keep_safe: 5,
    _kill: 3,
}


def draw(chance: random.Random) -> Step:
    return chance.choices(list(STEPS), list(STEPS.values()))[0]
