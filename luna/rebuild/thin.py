"""luna thin: cold storage follows the rule 'cold.keep'; and back again for whoever is in the rule.

The order is the promise. What a rebuild reads is read back from the store; the file is rebuilt and is
the recorded one bit for bit; the record is written; only then the object is dropped. Killed anywhere,
the next run proves again what is not dropped yet, and completes the records in git.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from luna import params
from luna.errors import ColdStorageError, ExportError
from luna.history import attestations, cache, cold, thinned
from luna.history.cold import Store
from luna.history.line import Line, Out, read_line, sealed_outs
from luna.history.new import require_tip
from luna.history.seal import kept
from luna.rebuild.compare import Difference
from luna.rebuild.generation import inputs, model_out, rebuild, scratch_folder

DROPPED, RETURNED, REFUSED = "thinned", "whole again", "not thinned"


@dataclass(frozen=True)
class Step:
    """What was done, or with a dry run would be done, for one generation; ``bytes`` are those of its GGUF."""

    generation: str
    action: str
    bytes: int
    why: str = ""
    differences: list[Difference] = field(default_factory=list)


def plan(root: Path, line: Line, store: Store, rule: params.Cold) -> tuple[list[str], list[str]]:
    """The generations whose GGUF is to be dropped, and those whose GGUF has to come back; oldest first."""
    root = root.resolve()
    stay = thinned.kept(rule, line, line.ledger())
    needed = {md5 for name in stay for md5 in kept(sealed_outs(root, name))}
    needed.update(cache.objects(root, [md5 for name in line.snapshots for md5 in kept(sealed_outs(root, name))]))
    present = {name: store.exists(model_out(root, name).md5) for name in line.names}
    drop = [name for name in line.names if name not in stay and present[name] and model_out(root, name).md5 not in needed]
    return drop, [name for name in line.names if name in stay and not present[name]]


def thin(root: Path, say: Callable[[str], None] = lambda text: None, dry_run: bool = False) -> list[Step]:
    """Make cold storage follow ``cold.keep``. A generation that cannot be proven stays as it is, with the reason.

    Raises:
        StateError: the branch that is checked out is not the line's tip.
        ColdStorageError: the store does not answer.
    """
    root = root.resolve()
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    require_tip(line)
    store = cold.open_store(root)
    drop, back = plan(root, line, store, settings.cold)
    if dry_run:
        return [Step(name, action, model_out(root, name).size) for action, names in ((DROPPED, drop), (RETURNED, back)) for name in names]
    steps: list[Step] = []
    try:
        with scratch_folder(root) as scratch:
            proven: set[str] = set()
            for name in drop:
                steps.append(_drop(root, line, store, name, scratch, proven, say))
            for name in back:
                steps.append(_return(root, line, store, name, scratch, say))
    finally:
        _record_in_git(root, line, store)
    return steps


def _drop(root: Path, line: Line, store: Store, name: str, scratch: Path, proven: set[str], say: Callable[[str], None]) -> Step:
    out = model_out(root, name)
    try:
        say(f"{name}: reading back what it is rebuilt from")
        own = [md5 for md5 in kept(sealed_outs(root, name)) if md5 != out.md5]
        for md5 in cache.objects(root, [*inputs(root, line, name), *own]):
            if md5 not in proven:
                proven.add(cold.prove(store, md5))
        done = rebuild(root, line, name, scratch, lambda text: say(f"{name}: {text}"))
    except (ColdStorageError, ExportError) as error:
        return Step(name, REFUSED, out.size, str(error))
    if not done.same or not cache.is_whole(done.model, out.md5):
        return Step(name, REFUSED, out.size, f"the rebuilt file has SHA-256 {done.sha256[:12]}, the ledger says {done.expected[:12]}", done.differences)
    shutil.rmtree(done.model.parent)
    thinned.write(store, thinned.Record(name, out.path, out.md5, done.sha256, out.size, done.tools, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")))
    store.remove(out.md5)
    return Step(name, DROPPED, out.size)


def _return(root: Path, line: Line, store: Store, name: str, scratch: Path, say: Callable[[str], None]) -> Step:
    out = model_out(root, name)
    try:
        remake(root, line, name, scratch, lambda text: say(f"{name}: {text}"))
        cold.archive(root, store, [out.md5])
    except (ColdStorageError, ExportError) as error:
        return Step(name, REFUSED, out.size, str(error))
    thinned.forget(store, name)
    return Step(name, RETURNED, out.size)


def remake(root: Path, line: Line, name: str, scratch: Path, say: Callable[[str], None] = lambda text: None) -> bool:
    """The GGUF in the cache, rebuilt where the cache lacks it. Returns whether it was rebuilt.

    Raises:
        ExportError: the rebuilt file is not the recorded one; it is not taken.
    """
    out = model_out(root, name)
    path = cache.find(root, out.md5)
    if path and cache.is_whole(path, out.md5):
        return False
    done = rebuild(root, line, name, scratch, say)
    if not done.same or not cache.is_whole(done.model, out.md5):
        raise ExportError(
            f"{name} was rebuilt, but not bit for bit (SHA-256 {done.sha256[:12]}, the ledger says {done.expected[:12]}): "
            f"nothing was taken from it; see 'luna rebuild {name} --check'."
        )
    _into_cache(root, out, done.model)
    return True


def _into_cache(root: Path, out: Out, model: Path) -> None:
    target = cache.place(root, out.md5)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.tmp")
    shutil.move(model, partial)  # the cache may be on another file system
    partial.chmod(0o444)
    partial.replace(target)


def _record_in_git(root: Path, line: Line, store: Store) -> None:
    """The records in git become those of the store; what an interrupted run left undone comes along.

    A record goes only when the object is there: one that the store alone has lost is written again.
    """
    there, here = thinned.in_store(store), thinned.in_git(line)
    for name, record in (here | there).items():
        if store.exists(record.md5):
            there.pop(name, None)
            thinned.forget(store, name)
        elif name not in there:
            there[name] = record
            thinned.write(store, record)
    changed = {name: there.get(name) for name in there.keys() | here.keys() if there.get(name) != here.get(name)}
    if not changed:
        return
    documents = {attestations.place(name, thinned.KIND): asdict(record) if record else None for name, record in sorted(changed.items())}
    gone, back = sorted(name for name, record in changed.items() if record), sorted(name for name, record in changed.items() if not record)
    words = [f"{len(names)} {what}" for names, what in ((gone, "thinned"), (back, "whole again")) if names]
    attestations.record(root, line, documents, f"Cold storage: {', '.join(words)}\n\n" + "\n".join(gone + back) + "\n")


def restore(root: Path, name: str, say: Callable[[str], None] = lambda text: None) -> int:
    """As luna.history.rollback.restore, and a GGUF that cold storage does not hold is rebuilt first. Returns how many objects came."""
    from luna.history import rollback

    root = root.resolve()
    return bring_back(root, name, say) + rollback.restore(root, name)


def bring_back(root: Path, name: str, say: Callable[[str], None] = lambda text: None) -> bool:
    """The GGUF of a generation in the cache: as it is there, or from cold storage, or rebuilt. Returns whether it was rebuilt."""
    root = root.resolve()
    out = model_out(root, name)
    path = cache.find(root, out.md5)
    if (path and cache.is_whole(path, out.md5)) or cold.open_store(root).exists(out.md5):
        return False
    return rebuild_into_cache(root, name, say)


def rebuild_into_cache(root: Path, name: str, say: Callable[[str], None] = lambda text: None) -> bool:
    """As ``remake``, in a scratch folder of its own."""
    root = root.resolve()
    with scratch_folder(root) as scratch:
        return remake(root, read_line(root, params.load(root).line.prefix), name, scratch, lambda text: say(f"{name}: {text}"))
