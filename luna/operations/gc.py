"""`luna gc`: frees the cache of objects that cold storage has just given back intact.

'dvc gc' asks which commits to keep and believes a remote's listing. Here each object to go is read
back from as many stores as 'cold.copies' asks for, in this very run, before it is deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, params
from luna.errors import ColdStorageError
from luna.history import keyframes, stores, thinned
from luna.history.line import Line, Out, outs_of, sealed_outs
from luna.history.tip import building
from luna.storage import cache, cold, objects

#: What a build reads of each ancestor beside what the parent's weights are made of: what was taught.
_ANCESTRAL = (artifacts.DELTA, artifacts.HELD_OUT, artifacts.ANSWERS)


@dataclass(frozen=True)
class Plan:
    """Objects that would be deleted, by md5, with their bytes; ``generations`` lose something in this clone.

    What stays, in bytes: ``kept_bytes`` in use, ``lean_bytes`` of GGUF files that cold storage holds only as base and
    adapters, ``unknown_bytes`` that no sealed generation names.
    """

    objects: dict[str, int]
    generations: list[str]
    kept_bytes: int
    lean_bytes: int
    unknown_bytes: int

    @property
    def bytes(self) -> int:
        """Bytes that would be freed."""
        return sum(self.objects.values())


@dataclass(frozen=True)
class Freed:
    """What went, and what stayed because cold storage did not give it back (``refused``: why, one each)."""

    objects: int
    bytes: int
    refused: list[str]


def plan(line: Line) -> Plan:
    """Look only. Kept: what the working tree, the commit checked out, the head and snapshots name, and of ancestors what a build reads."""
    root = line.git.root
    objects_folder = cache.home(root) / "files" / "md5"
    sizes = {
        "".join(path.parts[-2:]): path.stat().st_size
        for path in objects_folder.glob("??/*")
        if path.is_file() and not path.name.endswith(".tmp")
    }
    wanted = _wanted(root, line)
    lean = {item.md5 for item in thinned.in_git(line).values()} - wanted
    free: dict[str, int] = {}
    named: set[str] = set()
    generations = []
    for name in line.names:
        own = _here(root, sealed_outs(root, name).values())
        named |= own
        if going := own & set(sizes) - wanted - lean:
            generations.append(name)
            free |= {md5: sizes[md5] for md5 in going}
    return Plan(
        dict(sorted(free.items())),
        generations,
        sum(size for md5, size in sizes.items() if md5 in wanted),
        sum(sizes.get(md5, 0) for md5 in lean),
        sum(
            size
            for md5, size in sizes.items()
            if md5 not in named | wanted and not md5.endswith(".dir")
        ),
    )


def _here(root: Path, outs) -> set[str]:
    """The objects of outputs without the folders' listings: these small files stay, because they say what a folder holds."""
    md5s = [out.md5 for out in outs if out.cached]
    return {md5 for md5 in objects.expanded(root, md5s) if not md5.endswith(".dir")}


def _wanted(root: Path, line: Line) -> set[str]:
    sets: list[list[Out]] = []
    texts = [
        (root / artifacts.LOCK).read_bytes() if (root / artifacts.LOCK).exists() else None,
        (root / artifacts.PIPELINE).read_bytes(),
    ]
    for lock, pipeline in (
        texts,
        line.git.cat([f"HEAD:{artifacts.LOCK}", f"HEAD:{artifacts.PIPELINE}"]),
    ):
        if lock and pipeline:
            sets.append(list(outs_of(lock, pipeline).values()))
    settings = params.load(root)
    needed = [line.head_name, settings.generation.parent if building(settings, line) else None]
    parents = {name for name in needed if name in line.names}
    sets += [list(sealed_outs(root, snapshot).values()) for snapshot in line.snapshots]
    for parent in parents:
        sets.append(list(sealed_outs(root, parent).values()))
        for ancestor in line.ancestors(parent):
            outs = sealed_outs(root, ancestor)
            sets.append([outs[path.as_posix()] for path in _ANCESTRAL if path.as_posix() in outs])
    weights = [item.md5 for parent in parents for item in keyframes.inputs(line, parent)]
    return set(objects.expanded(root, weights)).union(*(_here(root, outs) for outs in sets))


def free(
    line: Line, plan: Plan, progress: Callable[[int, int], None] = lambda done, total: None
) -> Freed:
    """Read each object back from cold storage, then delete it from the cache. Killed anywhere, nothing is lost: run it again.

    Raises:
        ColdStorageError: fewer stores answer than ``cold.copies`` asks for.
    """
    root = line.git.root
    copies, places = params.load(root).cold.copies, cold.open_all(root)
    total, done = plan.bytes * min(copies, len(places)), 0
    lost = {store.name: sentence for store in places if (sentence := _refusal(store, line))}

    def read(count: int) -> None:
        nonlocal done
        done += count
        progress(min(done, total), total)

    count, size, refused = 0, 0, []
    for md5, length in plan.objects.items():
        proven, why = 0, ""
        for store in places:
            if store.name in lost:
                why = lost[store.name]
                continue
            try:
                cold.prove(store, md5, read=read)
                proven += 1
            except ColdStorageError as error:
                why = str(error)
            if proven == copies:
                break
        if proven < copies:
            refused.append(why)
            continue
        cache.path_of(root, md5).unlink(missing_ok=True)
        count, size = count + 1, size + length
    return Freed(count, size, refused)


def _refusal(store: cold.Store, line: Line) -> str | None:
    """Why a store cannot be used at all: it does not answer, or is not this line's."""
    try:
        return stores.refusal(stores.look(store, line.git), line.git)
    except ColdStorageError as error:
        return str(error)
