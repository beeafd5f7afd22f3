"""`luna rollback`: moves the head to an earlier generation, with a recorded reason."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from luna.errors import ColdStorageError, ExportError, InputError, StateError
from luna.history import backup, record, shared, stores
from luna.history.head import head_updates, lagging, last_move, reason_of
from luna.history.line import Line, read_line
from luna.history.shared import push, remote
from luna.history.tip import where
from luna.names import GenerationName, assignment_tag
from luna.operations import restore
from luna.params import Params
from luna.repo import checkout
from luna.repo.git import Git, Update
from luna.repo.settings import standing
from luna.repo.tag import fields

_STORES = ".dvc/config"


@dataclass(frozen=True)
class RolledBack:
    """Where the head is now, where it was, and what was done."""

    name: str
    previous: str
    checked_out: bool
    pushed_to: str | None
    back: str | None  # the command that leads back to the branch, where it was left


def rollback(
    root: Path,
    reference: str,
    reason: str,
    stay: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> RolledBack:
    """Fetch and check first, then move the head (version, assignment, head tag, in one transaction), then check out.

    If it is killed at any point, the same command finishes it: it recognises an interrupted checkout.

    Raises:
        InputError: no such generation, it was denied by the rule, it is the head already, or no reason is given.
        StateError: uncommitted changes would be in the way of the checkout; nothing is changed then.
        ColdStorageError: no intact copy of its bytes is left.
    """
    settings = standing(root)
    line = read_line(root, settings.line.prefix)
    git = line.git
    cut = checkout.unfinished(git)
    if cut and cut.move in line.assignments and git.try_resolve("HEAD^{commit}") != cut.target:
        for path in checkout.complete(git, cut):
            say(f"{path} was changed after the rollback was interrupted: a copy is in quarantine")
        checkout.check_out(git, cut.target)
    name = line.resolve(reference)
    if _verdict(line, name) != "promoted":
        raise InputError(
            f"{name} was denied by the rule, so it cannot become the head: see its EVAL.md."
        )
    reason = " ".join(reason.split())
    if not reason:
        raise InputError(
            'A rollback needs a reason: give --reason "why"; it is kept with the head\'s history.'
        )
    generation = GenerationName.parse(name)
    text = f"Rollback to {generation.short}: {reason}"
    line = _finish_offered(root, line, text)
    last = reason_of(line, last_move(line))
    # The same command again: whatever a kill has left undone is done, and where nothing was, nothing changes.
    going_on = name == line.head_name and last.partition("\n")[0] == text
    if name == line.head_name and not going_on:
        raise InputError(f"{name} is the current best already.")
    changed = git.changed()
    if changed and not stay:
        raise StateError(
            f"{changed[0]} has uncommitted changes: commit or stash them, or give --stay to move the head and leave the workspace as it is."
        )
    if record.complete(
        git, line.all_tags.values()
    ):  # a kill may have cut the last move between two references
        line = read_line(root, settings.line.prefix)
    try:
        restore.restore(root, name)
    except (ColdStorageError, ExportError) as error:
        raise ColdStorageError(
            f"{name} cannot be restored, so the head was not moved. {error}"
        ) from None
    previous = (fields(last).get("Previous") if going_on else line.head_name) or "-"
    with contextlib.suppress(ColdStorageError):
        record.ensure(git, lambda: stores.record_of_line(root, git))
    target = line.sealed[generation.number].commit
    move = max(line.assignments, default=0) + (0 if going_on else 1)
    if not stay:
        before = git.try_resolve("HEAD^{commit}") or target
        checkout.begin(git, checkout.Note(name, before, target, move, reason))
    if not going_on:
        updates = record.following(git, head_updates(line, generation, target, text))
        _offer(root, line, updates)
        git.update(updates, f"luna rollback {name}")
    pushed = push(read_line(root, settings.line.prefix)) if remote(git) else None
    with ThreadPoolExecutor(
        1
    ) as beside:  # DVC takes as long to start here as in its hook: both at once
        copied = beside.submit(_tell_cold, root, settings, git)
        if stay or git.attempt("diff", "--quiet", f"refs/tags/{name}", "--", _STORES)[0]:
            copied.result()  # the generation's own files may name other stores
        if not stay:
            checkout.check_out(git, f"refs/tags/{name}")
        copied.result()
    checkout.end(git)
    back = None if stay else where(read_line(root, settings.line.prefix)).remedy
    return RolledBack(name, previous, not stay, pushed, back)


def _tell_cold(root: Path, settings: Params, git: Git) -> None:
    """Going back must not fail for it: the next seal brings what is lacking."""
    backup.if_possible(root, git, settings.line.prefix, settings.cold.remotes)


def _offer(root: Path, line: Line, updates: list[Update]) -> None:
    """Shared repository and cold storage take the move first, so that of two clones that change history at once one is refused.

    Going back must work where neither answers. Raises StateError where another clone was first.
    """
    try:
        shared.offer(line, None, updates)
        with contextlib.suppress(ColdStorageError):
            stores.offer(root, line.git, updates)
    except (shared.Overtaken, record.AlreadyWritten):
        remedy = f"git fetch {remote_name}" if (remote_name := remote(line.git)) else "luna repair"
        raise StateError(
            f"Another clone has sealed or moved the head meanwhile, so the head stays where it is: '{remedy}', then run the same command again; nothing was changed."
        ) from None


def _finish_offered(root: Path, line: Line, text: str) -> Line:
    """The line with this very move, where a kill came after others had taken it and before it was one here."""
    git, tag = line.git, assignment_tag(max(line.assignments, default=0) + 1)
    theirs = shared.ask(git)
    if shared.holds_move(git, tag, text, theirs):
        shared.fetch(line)
    elif entries := stores.holds_move(root, git, tag, text):
        stores.adopt(git, entries)
    else:
        return line
    line = read_line(root, line.prefix)
    if updates := lagging(line):
        git.update(updates, "luna rollback: the head follows its last move")
        line = read_line(root, line.prefix)
    return line


def _verdict(line: Line, name: str) -> str | None:
    tag = line.sealed[GenerationName.parse(name).number]
    return line.git.tag_body(tag.object).fields.get("Verdict")
