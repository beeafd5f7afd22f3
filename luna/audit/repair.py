"""The work of `luna repair`: puts aside what is damaged and mends it from another copy.

It looks as verify looks, repairs in an order in which each step needs the one before (git's files,
objects, record, tags, branch, head, workspace, then bytes), and looks again. Nothing is deleted, and
every step writes a complete copy beside the target before it replaces it: after a kill the next run resumes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts
from luna.audit import (
    cold_git,
    content,
    mend_bytes,
    mend_git,
    mend_shallow,
    snapshots,
    verify,
    workspace,
)
from luna.audit.finding import Finding, Where
from luna.audit.mend_bytes import Remake
from luna.audit.places import Cache, Cold, Place
from luna.audit.problem import Kind, Severity
from luna.audit.workbench import Bench
from luna.errors import StateError
from luna.history import known
from luna.repo import checkout
from luna.repo.git import Git
from luna.storage.cold import Store

_ORDER = (
    Kind.REFERENCES,
    Kind.GIT_OBJECT,
    Kind.RECORD,
    Kind.STRAY,
    Kind.TAG,
    Kind.BRANCH,
    Kind.HEAD,
    Kind.ALTERED,
    Kind.WORKSPACE,
    Kind.LEDGER,
    Kind.COLD_RECORD,
    Kind.COLD_GIT,
)
_ROUNDS = 6  # one mended layer may show damage in the next: pack, object, record, tag, branch, head


@dataclass(frozen=True)
class RepairStep:
    """``done``: what was done or would be; None where nothing can mend it. ``again``: what to do instead."""

    finding: Finding
    done: str | None


@dataclass(frozen=True)
class Repairs:
    """What a repair did, or with ``dry_run`` would do."""

    steps: list[RepairStep]
    dry_run: bool

    @property
    def complete(self) -> bool:
        """Whether everything was mended."""
        return all(step.done for step in self.steps)


def repair(
    root: Path,
    prefix: str,
    building: str | None,
    stores: Sequence[Store],
    dry: bool = False,
    chosen: Sequence[str] = (),
    remake: Remake | None = None,
    thinned: frozenset[str] = frozenset(),
    say: Callable[[str], None] = lambda text: None,
    quick: bool = False,
) -> Repairs:
    """Mend git, records and workspace, then the objects of the ``chosen`` generations (none: all) in cache and ``stores``.

    ``quick`` mends objects that are missing or of the wrong length, without reading the others.

    Raises:
        StateError: this is a shallow clone, or a rollback was interrupted here: each has a command of its own.
        ColdStorageError: a store that is to be mended cannot be written.
    """
    steps = _deepened(Git(root), stores, dry, say)
    _require_nothing_of_its_own(Git(root))
    stores, absent = verify.usable(Git(root), stores)
    (root / artifacts.SCRATCH).mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="repair-", dir=root / artifacts.SCRATCH))
    try:
        steps += [RepairStep(finding, None) for finding in absent]
        steps += _git(root, prefix, building, list(stores), dry, scratch, quick, say)
        steps += _objects(
            root, prefix, list(stores), dry, chosen, remake, thinned, scratch, quick, say
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Repairs(steps, dry)


def _deepened(
    git: Git, stores: Sequence[Store], dry: bool, say: Callable[[str], None]
) -> list[RepairStep]:
    """Nothing else can be judged in a shallow clone, so that comes first."""
    if dry or not known.is_shallow(git):
        return []
    done = mend_shallow.mend(git, stores)
    if done:
        say(done)
    return [RepairStep(verify.SHALLOW_CLONE, done)] if done else []


def _require_nothing_of_its_own(git: Git) -> None:
    """What would look like damage, and is none."""
    if known.is_shallow(git):
        raise StateError(
            "This is a shallow clone, which has only the newest part of the history, and neither a git remote nor cold storage brought the rest: git fetch --unshallow --tags, or luna recover STORE FOLDER."
        )
    if (note := checkout.unfinished(git)) and git.changed():
        raise StateError(
            f"The rollback to {note.generation} was interrupted: {note.command}; nothing was changed."
        )


def _git(
    root: Path,
    prefix: str,
    building: str | None,
    stores: list[Store],
    dry: bool,
    scratch: Path,
    quick: bool,
    say: Callable[[str], None],
) -> list[RepairStep]:
    git = Git(root)
    done: dict[tuple[Kind, Where, str], RepairStep] = {}
    bundles: list[Finding] | None = None  # reading them takes long: again only after a change
    for _ in range(_ROUNDS):
        picture, findings = verify.survey(git, prefix, stores)
        here = None if any(seal.name == building for seal in picture.seals.values()) else building
        findings += workspace.check(picture, here)
        if bundles is None:
            bundles = cold_git.check(picture, stores, quick)
        findings += bundles
        # An adopted line has no record yet: writing one is no damage mended, but it is the moment to do it.
        open_ones = [
            finding
            for finding in findings
            if finding.kind is not Kind.OBJECT
            and (finding.severity is Severity.DAMAGE or finding.kind is Kind.RECORD)
        ]
        bench = Bench(root, git, picture, stores, here, dry, scratch)
        moved = False
        for finding in sorted(
            open_ones,
            key=lambda finding: (
                _ORDER.index(finding.kind) if finding.kind in _ORDER else len(_ORDER)
            ),
        ):
            key = (finding.kind, finding.where, finding.object)
            if done.get(key) and done[key].done:
                continue
            what = mend_git.mend(bench, finding)
            done[key] = RepairStep(finding, what)
            if what and not dry:
                say(f"{finding.sentence}: {what}")
                moved = True
                if finding.kind in (Kind.RECORD, Kind.COLD_GIT):
                    bundles = None
                if finding.kind in (Kind.REFERENCES, Kind.GIT_OBJECT, Kind.RECORD):
                    break  # what follows may look otherwise now
        if dry or not moved:
            break
    return list(done.values())


def _objects(
    root: Path,
    prefix: str,
    stores: list[Store],
    dry: bool,
    chosen: Sequence[str],
    remake: Remake | None,
    thinned: frozenset[str],
    scratch: Path,
    quick: bool,
    say: Callable[[str], None],
) -> list[RepairStep]:
    steps: list[RepairStep] = []
    places: list[Place] = [Cache(root), *(Cold(store, thinned) for store in stores)]
    bench = mend_bytes.Bench(root, places, dry, scratch, remake)
    for _ in range(
        2
    ):  # a folder's listing that came back names objects that were not looked for before
        picture = verify.take(Git(root), prefix, set())
        items = [] if chosen else snapshots.check(picture, places)[0]
        seals = verify.choose(picture, chosen)
        for seal in seals:
            items += verify.check_generation(picture, seal, places, {item.name for item in seals})[
                0
            ]
        objects = content.merged(items)
        by_object: dict[str, list[Finding]] = {}
        for finding in content.scan(objects, places, quick):
            if finding.kind is Kind.OBJECT and finding.severity is Severity.DAMAGE:
                by_object.setdefault(finding.object, []).append(finding)
        before = len([step for step in steps if step.done])
        steps = [step for step in steps if step.done]
        for item in objects:
            if item.md5 not in by_object:
                continue
            made = mend_bytes.mend(bench, item, [finding.where for finding in by_object[item.md5]])
            for finding in by_object[item.md5]:
                steps.append(RepairStep(finding, made.get(finding.where)))
                if made.get(finding.where):
                    say(f"{finding.sentence}: {made[finding.where]}")
        listings = any(
            step.finding.object.endswith(".dir") and step.done for step in steps[before:]
        )
        if dry or not listings:
            break
    return steps
