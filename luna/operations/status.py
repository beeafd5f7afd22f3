"""`luna status`: where the line stands, without starting DVC or opening weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, stage
from luna.conversations import probes, questions
from luna.errors import LunaError
from luna.history import known, past, shared, tip
from luna.history.known import Doubt
from luna.history.line import Line, read_line
from luna.history.tip import Where, building
from luna.operations import retry, workspace
from luna.operations.new import Pending, counted, waiting
from luna.operations.overlooked import overlooked
from luna.promotion import balance
from luna.promotion.advice import Advice
from luna.promotion.balance import Balance
from luna.repo import settings as settings_file
from luna.repo.running import Running, running


@dataclass(frozen=True)
class Status:
    """Where the line stands."""

    head: str | None
    newest: str | None
    generations: int
    building: str | None
    checked_out: str | None
    pending: Pending | None
    pending_error: str | None
    push_remote: str | None
    karma_required: float
    where: Where
    doubts: list[Doubt]
    altered_rows: tuple[str, ...] = ()  # where the tip's ledger is not the sealed one
    handed_over: bool = (
        False  # what is being built was begun on another machine, or is meant for one
    )
    ignored: tuple[str, ...] = ()  # sentences, see luna/operations/overlooked.py
    settings_remedy: str | None = None  # where params.yaml cannot be read
    running: Running | None = None  # the build at work in this folder
    foreign: str | None = None  # files of another generation than the tip's, a sentence
    advice: Advice | None = None  # after a denial, where the same again would be denied again
    failure: str | None = None  # what stopped the build that was begun
    balance: Balance | None = None  # what the current best has gained and what it has cost

    @property
    def next_step(self) -> str:
        """The command that is right in this state: what is in doubt first, then the way to the tip, then the work."""
        if self.running:
            return "wait for it to end: luna status says how far it is"
        for doubt in self.doubts:
            if doubt.stops:
                return doubt.remedy
        if self.where.remedy:
            return self.where.remedy
        if self.settings_remedy:
            return self.settings_remedy
        if self.altered_rows:
            return f"luna repair (lineage.csv at the tip is not the sealed one: {self.altered_rows[0]})"
        if self.foreign:
            return (
                "git stash (it puts them back, and keeps what was there; to see it: git stash show)"
            )
        if self.pending_error and not self.building:
            return "correct what is named above, then luna evolve"
        if self.building and self.handed_over:
            return (
                "luna evolve"  # it brings what has been made; 'dvc repro' alone would make it again
            )
        if self.building:
            return "luna evolve (by hand: dvc repro, then luna seal)"
        if not self.generations:
            return "luna evolve"
        if self.advice:
            return self.advice.step
        if self.pending and self.pending.conversations:
            return "luna evolve"
        return "add conversations to data/conversations"


def _balance(line: Line) -> Balance | None:
    if line.head is None:
        return None
    [text] = line.git.cat([f"{line.head.commit}:{artifacts.METRICS.as_posix()}"])
    try:
        return balance.of(json.loads(text or b""))
    except ValueError:  # damaged: for 'luna verify'
        return None


def status(root: Path) -> Status:
    """Read the state of the line; nothing is changed."""
    given = settings_file.read(root)
    settings = given.values
    line = read_line(root, settings.line.prefix)
    numbers, error, advice = None, None, None
    ignored: tuple[str, ...] = ()
    try:
        batch = waiting(root, line)
        numbers = counted(batch)
        advice = retry.advised(root, line) if not given.wrong else None
        ignored = tuple(overlooked(root, settings, batch))
        probes.curated(root / artifacts.CURATED_PROBES)
        questions.load(root / artifacts.GENERAL_QUESTIONS)
    except LunaError as reason:
        error = str(reason)
    at = tip.where(line)
    here = next((tag.name for tag in line.sealed.values() if tag.commit == at.commit), None)
    name = building(settings, line)
    committed = line.git.show("HEAD", artifacts.PARAMS) if name else None
    at_work = running(root)
    return Status(
        line.head_name,
        line.newest,
        len(line.sealed),
        name,
        here,
        numbers,
        error,
        line.git.config(shared.PUSH_REMOTE),
        settings.age_up.karma_required,
        at,
        known.doubts(line),
        tuple(past.altered_at_tip(line.git, line.sealed)),
        name is not None and name.encode() in (committed or b""),
        ignored,
        given.remedy,
        at_work,
        workspace.of_another(line, settings) if line.sealed and name is None else None,
        advice,
        stage.failure(root) if name and not at_work else None,
        _balance(line),
    )
