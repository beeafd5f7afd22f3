"""`luna seal`: cold storage, commit, tag and head for a finished pipeline run.

The order is the promise: the data is in cold storage and has been read back; where the line is shared, the
shared repository takes branch, tags and record in one atomic push, or refuses because another clone was first; then
commit, tag and head are made here in one transaction. If it is killed anywhere, the same command resumes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts, files, params
from luna.errors import ColdStorageError, StateError
from luna.history import backup, record, shared, stores
from luna.history.head import head_updates, lagging
from luna.history.line import Line, Out, kept, outs_of, read_line, sealed_outs
from luna.history.tip import building, require_tip
from luna.names import GenerationName
from luna.operations import recorded
from luna.repo import interrupted
from luna.repo.git import ZERO, Tag, Update
from luna.scores import SCORES
from luna.storage import cold, objects


@dataclass(frozen=True)
class Sealed:
    """``created`` is False when the generation had been sealed before and nothing was left to do."""

    name: str
    promoted: bool
    head: str | None
    uploaded: int
    pushed_to: str | None
    created: bool


def seal(root: Path, tick: Callable[[str], None] = lambda step: None) -> Sealed:
    """Raises StateError when the pipeline is not finished or another clone was first (Overtaken), ColdStorageError when the data cannot be proven safe."""
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    name = settings.generation.identity
    if building(settings, line) is None:
        return _finish(root, line, str(name))
    recorded.require_named(root, settings)
    if name.number in line.sealed:
        raise StateError(
            f"Generation {name.number} is already sealed as {line.sealed[name.number].name}: 'luna seal --renumber' takes the next number without training again."
        )
    branch, theirs = require_tip(line), shared.ask(line.git)
    if shared.holds(line.git, str(name), theirs):  # killed after the shared repository had taken it
        shared.fetch(line)
        return _finish(root, read_line(root, settings.line.prefix), str(name))
    shared.require_not_overtaken(line.git, branch, theirs)
    ahead = stores.newer(root, line.git)
    if entries := stores.holds(line, str(name), ahead):  # killed after cold storage had taken it
        stores.adopt(line.git, entries)
        return _finish(root, read_line(root, settings.line.prefix), str(name))
    stores.require_not_overtaken(ahead)
    outs = _finished_outs(root)
    metrics = files.read_json(root / artifacts.METRICS)
    if metrics["generation"]["name"] != str(name):
        raise StateError(
            f"The pipeline's results are {metrics['generation']['name']}'s, not {name}'s: run 'dvc repro', then 'luna seal'."
        )

    recorded.require(root, line, settings, metrics)

    tick("archiving")
    uploaded = archive_outs(root, line, outs, tick)
    record.ensure(line.git, lambda: stores.record_of_line(root, line.git))
    tick("committing")
    _commit(root, line, name, metrics)
    done = _finish(root, read_line(root, settings.line.prefix), str(name))
    return Sealed(done.name, done.promoted, done.head, uploaded, done.pushed_to, True)


def _finished_outs(root: Path) -> dict[str, Out]:
    """The outputs of a finished and unchanged pipeline, checked by DVC itself."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not (root / artifacts.LOCK).exists():
        raise StateError("The pipeline has not run: run 'dvc repro', then 'luna seal'.")
    if not interrupted.is_whole_lockfile(root / artifacts.LOCK):
        raise StateError(
            "dvc.lock is incomplete: run 'luna evolve', which takes its last complete copy, or 'luna repair'; nothing was sealed."
        )
    try:
        status = Repo(str(root)).status()
    except DvcException as error:
        raise StateError(f"DVC cannot read the pipeline: {error}") from None
    if status:
        raise StateError(
            f"The pipeline is not finished (stage '{next(iter(status))}' is out of date): run 'dvc repro', then 'luna seal'."
        )
    return outs_of((root / artifacts.LOCK).read_bytes(), (root / artifacts.PIPELINE).read_bytes())


def archive_outs(root: Path, line: Line, outs: dict[str, Out], tick: Callable[[str], None]) -> int:
    """Into every store of cold storage; as many as ``cold.copies`` must have given all back. Returns how many were uploaded."""
    proven: list[str] = []
    if line.newest:
        with contextlib.suppress(
            ColdStorageError
        ):  # another clone's, of which nothing is here: then all is read back
            proven = objects.expanded(root, kept(sealed_outs(root, line.newest)))
    return cold.archive_in_all(
        root,
        objects.expanded(root, kept(outs)),
        proven,
        lambda store: stores.require(store, line.git),
        tick,
    )


def message(
    name: GenerationName,
    metrics: dict[str, Any],
    weights: str,
    ledger: str,
    hashes: str,
    record_tip: str | None = None,
) -> str:
    """What a generation's commit and tag say; ``weights``, ``ledger``, ``hashes`` (of hashes.csv, which lists every file) and ``record_tip`` are SHA-256 digests."""
    scores, decision = metrics["evaluation"], metrics["decision"]

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    verdict = "promoted" if decision["promoted_to_head"] else "denied"
    learnt, left = metrics["data"]["karma"], metrics["data"]["karma_left"]
    return (
        f"{name}: {verdict}\n\n"
        f"Parent: {metrics['generation']['parent']}\n"
        + "".join(f"{score.field}: {shown(scores.get(score.key))}\n" for score in SCORES)
        + f"Verdict: {verdict}\nNotes: {decision['notes']}\n"
        # What waits to be learnt after this one: a denied generation has used up nothing, its conversations are learnt again.
        f"Karma: {learnt:g}\nKarma-After: {left if verdict == 'promoted' else learnt + left:g}\n"
        f"Weights-SHA256: {weights}\nLedger-SHA256: {ledger}\n"
        f"{artifacts.HASHES_TRAILER}: {hashes}\n"
        + (f"{record.TRAILER}: {record_tip}\n" if record_tip else "")
    )


def _commit(root: Path, line: Line, name: GenerationName, metrics: dict[str, Any]) -> None:
    """Commit, tag, version, assignment and head, all or none."""
    git = line.git
    branch = require_tip(line)
    tip = git.resolve("HEAD")
    weights = (root / artifacts.WEIGHTS_SHA256).read_text(encoding="utf-8").split()[0]
    text = message(
        name,
        metrics,
        weights,
        files.digest(root / artifacts.LEDGER),
        files.digest(root / artifacts.HASHES),
        record.tip_digest(record.current(git)),
    )
    paths = [path.as_posix() for path in artifacts.SEALED_IN_GIT]
    commit = git.commit_tree(git.tree_with(paths, artifacts.KEPT_BY_DVC), tip, text)
    updates = [
        Update(branch, commit, tip),
        Update(f"refs/tags/{name}", git.tag_object(str(name), commit, text), ZERO),
    ]
    if metrics["decision"]["promoted_to_head"]:
        updates += head_updates(
            line, name, commit, f"{name.short} promoted: {metrics['decision']['notes']}"
        )
    updates = record.following(git, updates)
    shared.offer(line, branch, updates)
    stores.offer(root, git, updates)
    git.update(updates, f"luna seal {name}")
    git.refresh_index(paths)


def _finish(root: Path, line: Line, name: str) -> Sealed:
    """What a kill may have left undone after the tag came into being, and the push. Does nothing when all is done."""
    git = line.git
    record.ensure(git, lambda: stores.record_of_line(root, git))
    if record.complete(git):
        line = read_line(root, line.prefix)
    tag = line.sealed[GenerationName.parse(name).number]
    promoted = git.tag_body(tag.object).fields.get("Verdict") == "promoted"
    _complete_references(line, tag, promoted)
    line = read_line(root, line.prefix)
    git.refresh_index(
        [path.as_posix() for path in artifacts.SEALED_IN_GIT]
        if git.try_resolve("HEAD") == tag.commit
        else []
    )
    pushed = shared.push(line)
    backup.to_all(stores.open_all(root, git), git, line.prefix)
    return Sealed(name, promoted, line.head_name, 0, pushed, False)


def _complete_references(line: Line, tag: Tag, promoted: bool) -> None:
    """git writes the references of one transaction file by file; a kill between two of them is mended here."""
    git = line.git
    updates = []
    branch, tip = git.branch(), git.try_resolve("HEAD")
    if branch and tip and not git.is_ancestor(tag.commit, tip) and git.is_ancestor(tip, tag.commit):
        updates.append(Update(branch, tag.commit, tip))
    assigned = [item for item in line.assignments.values() if item.commit == tag.commit]
    if promoted and not assigned:
        updates += head_updates(
            line,
            GenerationName.parse(tag.name),
            tag.commit,
            f"{GenerationName.parse(tag.name).short} promoted",
        )
    else:
        updates += lagging(line)
    if updates:
        git.update(record.following(git, updates), f"luna: complete {tag.name}")
