"""One generation built on two machines: trained on one, exported and sealed on the other.

The one machine brings what its stages made into cold storage, reads it back, and commits params.yaml, dvc.lock and
the small files as an unfinished generation on the branch. The other gets the branch by git and the outputs by their
recorded hashes; then the pipeline finds these stages done. Nothing is tagged, so the generation is not sealed
before it is whole, and may still be given up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from luna import artifacts, files
from luna.errors import ColdStorageError, StateError
from luna.history import shared
from luna.history.line import Line, Out, kept, outs_of
from luna.history.tip import require_tip
from luna.operations.seal import archive_outs
from luna.repo.git import Update
from luna.storage import cache, objects

STAGES = ("prep", "train", "export", "evaluate")  # after which a generation may change machines


@dataclass(frozen=True)
class HandedOver:
    """``uploaded`` objects went into cold storage now; ``commit`` holds the unfinished generation; ``pushed_to`` is a git remote or None."""

    name: str
    stage: str
    uploaded: int
    commit: str
    pushed_to: str | None


def hand_over(
    root: Path, line: Line, name: str, stage: str, tick: Callable[[str], None] = lambda step: None
) -> HandedOver:
    """Archive, commit and push what has been built of ``name``, up to and with ``stage``. Run again, it adds nothing.

    Raises:
        StateError: the shared branch has moved on, or the git remote does not take the branch.
        ColdStorageError: the outputs cannot be proven to be in cold storage.
    """
    git, branch = line.git, require_tip(line)
    # All but the ledger, whose row a seal alone adds.
    paths = [path.as_posix() for path in artifacts.SEALED_IN_GIT if path != artifacts.LEDGER]
    tip, tree, theirs = (
        git.resolve("HEAD"),
        git.tree_with(paths, artifacts.KEPT_BY_DVC),
        shared.ask(git),
    )
    # Killed after the shared repository had taken it.
    if arrived := shared.holding(git, branch, theirs, tree, tip):
        git.update([Update(branch, arrived, tip)], f"luna: {name} up to {stage}")
        git.refresh_index(paths)
        tip = arrived
    shared.require_not_overtaken(git, branch, theirs)
    tick("archiving")
    uploaded = archive_outs(root, line, _outs(root, name), tick)
    tick("committing")
    if tree != git.resolve(f"{tip}^{{tree}}"):
        updates = [
            Update(
                branch,
                git.commit_tree(tree, tip, f"{name}: unfinished, built up to {stage}\n"),
                tip,
            )
        ]
        shared.offer(line, branch, updates)
        git.update(updates, f"luna: {name} up to {stage}")
        git.refresh_index(paths)
    return HandedOver(name, stage, uploaded, git.resolve("HEAD"), shared.push(line))


def take_over(root: Path, name: str, say: Callable[[str], None] = lambda text: None) -> int:
    """Put the recorded outputs of ``name`` into the workspace, from the cache or from cold storage.

    What is there already stays. Returns how many objects came from cold storage.

    Raises:
        ColdStorageError: no intact copy of an output is left; the stage that made it would have to run again.
    """
    if not (root / artifacts.LOCK).exists():
        return 0
    lacking = {
        path: out
        for path, out in _outs(root, name).items()
        if out.cached and not _is_there(root, out)
    }
    if not lacking:
        return 0
    say(f"{name}: bringing {', '.join(lacking)}")
    try:
        came = sum(objects.whole(root, md5)[1] for md5 in objects.expanded(root, kept(lacking)))
    except ColdStorageError as error:
        raise ColdStorageError(
            f"{error} Make sure that it answers, then run the same command again; or 'dvc repro' makes the missing outputs again, here."
        ) from None
    _check_out(root, list(lacking))
    return came


def _outs(root: Path, name: str) -> dict[str, Out]:
    """What the recorded stages made that were run for the generation ``name``, or belong to any."""

    def belongs(stage: dict[str, Any]) -> bool:
        generation = (
            (stage.get("params") or {}).get(artifacts.PARAMS.as_posix(), {}).get("generation")
        )
        return generation is None or generation.get("name") == name

    lock = yaml.safe_load((root / artifacts.LOCK).read_bytes()) or {}
    lock["stages"] = {
        stage: entry for stage, entry in lock.get("stages", {}).items() if belongs(entry)
    }
    return outs_of(yaml.safe_dump(lock).encode(), (root / artifacts.PIPELINE).read_bytes())


def _is_there(root: Path, out: Out) -> bool:
    """Whether the workspace holds an output's bytes."""
    top = root / out.path
    if not out.md5.endswith(".dir"):
        return _is_same(root, top, out.md5)
    if not top.is_dir() or not cache.find(root, out.md5):
        return False
    here = {path.relative_to(top).as_posix(): path for path in top.rglob("*") if path.is_file()}
    listed = objects.listing(root, out.md5)
    return here.keys() == listed.keys() and all(
        _is_same(root, path, listed[relative]) for relative, path in here.items()
    )


def _is_same(root: Path, path: Path, md5: str) -> bool:
    """A link to the cache's own object need not be read; anything else is hashed."""
    kept_at = cache.find(root, md5)
    return path.is_file() and (
        (kept_at is not None and path.samefile(kept_at)) or files.digest(path, "md5") == md5
    )


def _check_out(root: Path, paths: list[str]) -> None:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        # A file in the way is another generation's output, which its own tag brings back.
        Repo(str(root)).checkout(targets=[str(root / path) for path in paths], force=True)
    except DvcException as error:
        raise StateError(f"DVC could not put {', '.join(paths)} in place: {error}") from None
