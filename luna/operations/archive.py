"""`luna archive`: brings sealed generations into cold storage and reads everything back.

DVC's 'push --all-tags' asks each tag's own configuration where to push, skips a generation whose tag does
not know the remote, and reports success. Here the remote is always the one that this clone has now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luna import names
from luna.history import backup, stores, thinned
from luna.history.line import Line, kept, sealed_outs
from luna.storage import cold, objects


@dataclass(frozen=True)
class Archived:
    """One generation or snapshot in one store: ``objects`` that were read back, ``uploaded`` of them now, ``thinned`` left out by rule."""

    name: str
    store: str
    objects: int
    uploaded: int
    thinned: int


def archive(
    line: Line,
    chosen: list[str],
    targets: list[cold.Store],
    progress: Callable[[int, int], None] = lambda done, total: None,
    begin: bool = False,
) -> list[Archived]:
    """Write sealed generations into a store and read them back.

    ``begin``: the user named the store, so it may be one that never held the line.

    Generations and snapshots, in the order given. What a store holds already is not uploaded again, so a killed run can be repeated; all is read back once in each run.

    Raises:
        ColdStorageError: a store cannot be written or read, or an object has no intact copy anywhere.
    """
    root = line.git.root
    for store in targets:  # all of them before the first is written to
        stores.require(store, line.git, begin)
    total = len(targets) * sum(
        {
            out.md5: out.size
            for name in chosen
            for out in sealed_outs(root, name).values()
            if out.cached
        }.values()
    )
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        progress(min(done, total), total)

    archived = []
    for store in targets:
        dropped = thinned.known(line, store)
        proven: set[str] = set()
        for name in chosen:
            md5s = objects.expanded(root, kept(sealed_outs(root, name)))
            wanted = [md5 for md5 in md5s if md5 not in dropped or names.is_snapshot(name)]
            fetched = _supply(root, store, wanted)
            uploaded = cold.archive(root, store, wanted, proven, read)
            for path in fetched:  # only passing through: the cache is left as small as it was
                path.unlink()
            proven.update(wanted)
            archived.append(
                Archived(name, store.name, len(wanted), uploaded, len(md5s) - len(wanted))
            )
        backup.to_store(store, line.git, line.prefix)
        stores.remember(store, line.git)
    return archived


def _supply(root: Path, store: cold.Store, md5s: list[str]) -> list[Path]:
    """Make sure that the cache has intact copies of what the store lacks. Returns what was fetched from another store."""
    came = [objects.whole(root, md5) for md5 in md5s if not store.exists(md5)]
    return [path for path, fetched in came if fetched and path.suffix != ".dir"]
