"""luna status and luna log: where the line stands, without starting DVC or opening weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luna import params
from luna.errors import LunaError
from luna.history import layout
from luna.history.line import Line, read_line
from luna.history.new import Pending, building, pending


@dataclass(frozen=True)
class Status:
    head: str | None
    newest: str | None
    generations: int
    building: str | None
    checked_out: str | None
    pending: Pending | None
    pending_error: str | None
    push_remote: str | None

    @property
    def next_step(self) -> str:
        if self.building:
            return "dvc repro, then luna seal"
        if not self.generations:
            return "luna evolve"
        if self.pending and self.pending.conversations:
            return "luna evolve"
        return "add conversations to data/conversations"


def status(root: Path) -> Status:
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    waiting = error = None
    try:
        waiting = pending(root, line)
    except LunaError as found:
        error = str(found)
    commit = line.git.resolve("HEAD")
    here = next((tag.name for tag in line.sealed.values() if tag.commit == commit), None)
    return Status(line.head_name, line.newest, len(line.sealed), building(settings, line), here, waiting, error, line.git.config(layout.PUSH_REMOTE))


def log(root: Path) -> list[dict[str, Any]]:
    """The ledger's rows with name and marks, oldest first."""
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    head = line.head_name
    return [
        asdict(row) | {"name": line.sealed[row.gen].name if row.gen in line.sealed else None, "head": row.gen in line.sealed and line.sealed[row.gen].name == head}
        for row in line.ledger()
    ]


def head_history(root: Path) -> list[dict[str, Any]]:
    """Every move of the head, oldest first: who, when, whereto, why; from the assignment tags."""
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    bodies = line.git.cat([line.assignments[count].object for count in sorted(line.assignments)])
    return [_move(line, count, (body or b"").decode("utf-8", "replace")) for count, body in zip(sorted(line.assignments), bodies, strict=True)]


def _move(line: Line, count: int, body: str) -> dict[str, Any]:
    from datetime import UTC, datetime

    header, _, message = body.partition("\n\n")
    tagger = next((row.removeprefix("tagger ") for row in header.splitlines() if row.startswith("tagger ")), "")
    who, _, when = tagger.partition("> ")
    commit = line.assignments[count].commit
    name = next((tag.name for tag in line.sealed.values() if tag.commit == commit), commit[:12])
    seconds = when.split(" ")[0]
    return {
        "move": count, "generation": name, "who": who + ">" if when else who,
        "when": datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds.isdigit() else None,
        "why": message.partition("\n\n")[0],
    }
