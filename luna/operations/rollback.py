"""luna rollback: an earlier generation becomes the current best again, with a reason that stays on record."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from luna import params
from luna.errors import ColdStorageError, ExportError, InputError, StateError
from luna.history import record
from luna.history.head import head_updates
from luna.history.line import Line, message_fields, read_line
from luna.history.shared import push, remote
from luna.names import GenerationName
from luna.operations import restore
from luna.repo.git import Git
from luna.storage import cold

_STORES = ".dvc/config"


@dataclass(frozen=True)
class RolledBack:
    """Where the head is now, where it was, and what was done."""

    name: str
    previous: str
    checked_out: bool
    pushed_to: str | None


def rollback(
    root: Path,
    reference: str,
    reason: str,
    stay: bool = False,
) -> RolledBack:
    """Fetch and check first, then move the head (version, assignment, head tag, in one transaction), then check out.

    Raises:
        InputError: no such generation, it was denied by the rule, it is the head already, or no reason is given.
        StateError: uncommitted changes would be in the way of the checkout; nothing is changed then.
        ColdStorageError: its bytes are not to be had whole.
    """
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    name = line.resolve(reference)
    reason = " ".join(reason.split())
    if not reason:
        raise InputError(
            'A rollback needs a reason: give --reason "why"; it is kept with the head\'s history.'
        )
    generation = GenerationName.parse(name)
    text = f"Rollback to {generation.short}: {reason}"
    going_on = (
        name == line.head_name
        and not stay
        and _last_reason(line) == text
        and line.git.resolve("HEAD") != line.sealed[generation.number].commit
    )
    if name == line.head_name and not going_on:
        raise InputError(f"{name} is the current best already.")
    if _verdict(line, name) != "promoted":
        raise InputError(
            f"{name} was denied by the rule, so it cannot become the head: see its EVAL.md."
        )
    changed = line.git.changed()
    if changed and not stay:
        raise StateError(
            f"{changed[0]} has uncommitted changes: commit or stash them, or give --stay to move the head and leave the workspace as it is."
        )
    if record.complete(
        line.git, line.all_tags.values()
    ):  # a kill may have cut the last move between two references
        line = read_line(root, settings.line.prefix)
    try:
        restore.restore(root, name)
    except (ColdStorageError, ExportError) as error:
        raise ColdStorageError(
            f"{name} cannot be restored, so the head stays where it is. {error}"
        ) from None
    previous = line.head_name or "-"
    with contextlib.suppress(ColdStorageError):
        record.ensure(line.git, lambda: cold.open_store(root))
    if not going_on:  # killed after the head had moved: only the checkout is left to do
        updates = head_updates(line, generation, line.sealed[generation.number].commit, text)
        line.git.update(record.following(line.git, updates), f"luna rollback {name}")
    pushed = push(read_line(root, settings.line.prefix)) if remote(line.git) else None
    with ThreadPoolExecutor(
        1
    ) as beside:  # DVC takes as long to start here as in its hook: both at once
        told = beside.submit(_tell_cold, root, settings.cold.remotes, line.git)
        if stay or line.git.attempt("diff", "--quiet", f"refs/tags/{name}", "--", _STORES)[0]:
            told.result()  # where the stores are may be said otherwise in the generation's own files
        if not stay:
            line.git.run("checkout", "--quiet", f"refs/tags/{name}")
        told.result()
    return RolledBack(name, previous, not stay, pushed)


def _tell_cold(root: Path, remotes: list[str], git: Git) -> None:
    """Going back must not fail for it: the next seal brings what is lacking."""
    with contextlib.suppress(ColdStorageError):
        record.to_all(cold.open_all(root, remotes), record.read(git))


def _last_reason(line: Line) -> str | None:
    """Why the head was moved last: the first line of the newest assignment's message."""
    if not line.assignments:
        return None
    [body] = line.git.cat([line.assignments[max(line.assignments)].object])
    return (body or b"").decode("utf-8", "replace").partition("\n\n")[2].partition("\n")[0]


def _verdict(line: Line, name: str) -> str | None:
    [body] = line.git.cat([line.sealed[GenerationName.parse(name).number].object])
    return message_fields((body or b"").decode("utf-8", "replace")).get("Verdict")
