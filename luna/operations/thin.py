"""`luna thin`: removes from cold storage, or puts back, GGUF files by the rule `cold.keep`.

The order is the promise, for each store separately. What a rebuild reads is read back from that store; the
file is rebuilt and is the recorded one bit for bit; the record is written; only then the object is dropped
there. Killed anywhere, the next run proves again what is not dropped yet, and completes the records in git.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from luna import params
from luna.errors import ColdStorageError, ExportError
from luna.export.differences import Difference
from luna.history import attestations, keyframes, stores, thinned
from luna.history.line import Line, kept, read_line, sealed_outs
from luna.history.tip import require_tip
from luna.operations import restore
from luna.operations.rebuild import Rebuilt, model_out, rebuild, scratch_folder
from luna.storage import cache, cold, objects
from luna.storage.cold import Store

DROPPED, RETURNED, REFUSED = "thinned", "whole again", "not thinned"


@dataclass(frozen=True)
class ThinStep:
    """What was done, or with a dry run would be done, for one generation in one store; ``bytes`` are those of its GGUF."""

    generation: str
    store: str
    action: str
    bytes: int
    why: str = ""
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """One GGUF in one store: it is to be dropped there, or to come back."""

    name: str
    store: Store
    drop: bool


def plan(root: Path, line: Line, stores: list[Store], rule: params.Cold) -> list[Work]:
    """What is to be dropped, oldest first and store by store, then what is to come back."""
    root = root.resolve()
    stay = thinned.kept(rule, line, line.ledger())
    needed = {md5 for name in stay for md5 in kept(sealed_outs(root, name))}
    needed.update(
        objects.expanded(
            root, [md5 for name in line.snapshots for md5 in kept(sealed_outs(root, name))]
        )
    )
    outside = [
        name for name in line.names if name not in stay and model_out(root, name).md5 not in needed
    ]
    drop = [
        Work(name, store, True)
        for name in outside
        for store in stores
        if store.exists(model_out(root, name).md5)
    ]
    return drop + [
        Work(name, store, False)
        for name in line.names
        if name in stay
        for store in stores
        if not store.exists(model_out(root, name).md5)
    ]


def thin(
    root: Path, say: Callable[[str], None] = lambda text: None, dry_run: bool = False
) -> list[ThinStep]:
    """Make cold storage follow ``cold.keep``, in each of ``cold.remotes``. A generation that cannot be proven stays as it is, with the reason.

    Raises:
        StateError: the branch that is checked out is not the line's tip.
        ColdStorageError: a store does not answer.
    """
    root = root.resolve()
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    require_tip(line)
    places = cold.open_all(root)
    for store in places:
        stores.require(store, line.git)
    todo = plan(root, line, places, settings.cold)
    if dry_run:
        return [
            ThinStep(
                work.name,
                work.store.name,
                DROPPED if work.drop else RETURNED,
                model_out(root, work.name).size,
            )
            for work in todo
        ]
    steps: list[ThinStep] = []
    try:
        with scratch_folder(root) as scratch:
            proven: dict[str, set[str]] = {store.name: set() for store in places}
            for name in dict.fromkeys(work.name for work in todo if work.drop):
                steps += _drop(
                    root,
                    line,
                    name,
                    [work.store for work in todo if work.drop and work.name == name],
                    scratch,
                    proven,
                    say,
                )
            steps += [
                _return(root, line, work.store, work.name, scratch, say)
                for work in todo
                if not work.drop
            ]
    finally:
        _record_in_git(root, line, places)
    return steps


def _drop(
    root: Path,
    line: Line,
    name: str,
    stores: list[Store],
    scratch: Path,
    proven: dict[str, set[str]],
    say: Callable[[str], None],
) -> list[ThinStep]:
    """One rebuild serves all stores, because it reads bytes of the recorded hash; each store must have given all of them back."""
    out = model_out(root, name)
    try:
        needed = objects.expanded(
            root,
            [
                *(item.md5 for item in keyframes.inputs(line, name)),
                *(md5 for md5 in kept(sealed_outs(root, name)) if md5 != out.md5),
            ],
        )
    except ColdStorageError as error:  # no place has a folder's listing
        return [ThinStep(name, store.name, REFUSED, out.size, str(error)) for store in stores]
    steps: list[ThinStep] = []
    done: Rebuilt | None = None
    for store in stores:
        try:
            say(f"{name}: reading back what it is rebuilt from, from '{store.name}'")
            for md5 in needed:
                if md5 not in proven[store.name]:
                    proven[store.name].add(cold.prove(store, md5))
            done = done or rebuild(root, line, name, scratch, lambda text: say(f"{name}: {text}"))
        except (ColdStorageError, ExportError) as error:
            steps.append(ThinStep(name, store.name, REFUSED, out.size, str(error)))
            continue
        if not done.same or not cache.is_whole(done.model, out.md5):
            steps.append(
                ThinStep(
                    name,
                    store.name,
                    REFUSED,
                    out.size,
                    f"the rebuilt file has SHA-256 {done.sha256[:12]}, the ledger says {done.expected[:12]}",
                    done.differences,
                )
            )
            continue
        thinned.write(
            store,
            thinned.Record(
                name,
                out.path,
                out.md5,
                done.sha256,
                out.size,
                done.tools,
                datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            ),
        )
        store.remove(out.md5)
        steps.append(ThinStep(name, store.name, DROPPED, out.size))
    if done:
        shutil.rmtree(done.model.parent)
    return steps


def _return(
    root: Path, line: Line, store: Store, name: str, scratch: Path, say: Callable[[str], None]
) -> ThinStep:
    out = model_out(root, name)
    try:
        restore.remake(root, line, name, scratch, lambda text: say(f"{name}: {text}"))
        cold.archive(root, store, [out.md5])
    except (ColdStorageError, ExportError) as error:
        return ThinStep(name, store.name, REFUSED, out.size, str(error))
    thinned.forget(store, name)
    return ThinStep(name, store.name, RETURNED, out.size)


def _record_in_git(root: Path, line: Line, stores: list[Store]) -> None:
    """Git records what some store lacks by rule; what an interrupted run left undone comes along.

    A store's record goes only when the object is there: one that the store alone has lost is written again.
    """
    here = thinned.in_git(line)
    records: dict[str, thinned.Record] = {}
    for store in stores:
        there = thinned.in_store(store)
        for name, record in (here | there).items():
            if store.exists(record.md5):
                if name in there:
                    thinned.forget(store, name)
            else:
                if name not in there:
                    thinned.write(store, record)
                records.setdefault(name, record)
    changed = {
        name: records.get(name)
        for name in records.keys() | here.keys()
        if records.get(name) != here.get(name)
    }
    if not changed:
        return
    documents = {
        attestations.path_of(name, thinned.KIND): asdict(record) if record else None
        for name, record in sorted(changed.items())
    }
    gone, back = (
        sorted(name for name, record in changed.items() if record),
        sorted(name for name, record in changed.items() if not record),
    )
    words = [
        f"{len(names)} {what}"
        for names, what in ((gone, "thinned"), (back, "whole again"))
        if names
    ]
    attestations.record(
        root,
        line,
        documents,
        f"Cold storage: {', '.join(words)}\n\n" + "\n".join(gone + back) + "\n",
    )
