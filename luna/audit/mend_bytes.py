"""Repairs objects: the damaged copy goes to quarantine, a good one takes its place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from luna import artifacts, files
from luna.audit import content
from luna.audit.content import Wanted
from luna.audit.finding import Where
from luna.audit.places import Cache, Cold, NotARegularFile, Place, Stream
from luna.files import Digests
from luna.history.line import outs_of
from luna.repo import quarantine
from luna.storage import cache

#: Makes an output of a generation again from base and adapters: its model.gguf, or a file of its keyframe. A path in scratch, or None where it cannot.
Remake = Callable[[str, str], Path | None]
_KEYFRAME = f"{artifacts.KEYFRAME.as_posix()}/"


@dataclass
class ObjectBench:
    """``copies`` remembers whole copies that were found outside the places, by MD5."""

    root: Path
    places: list[Place]
    dry: bool
    scratch: Path
    remake: Remake | None = None
    copies: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A copy that an object may be mended from: where it lies, and what opens it."""

    label: str
    open: Callable[[], Stream]


def mend(bench: ObjectBench, item: Wanted, damaged: Iterable[Where]) -> dict[Where, str | None]:
    """Replace the copies in the ``damaged`` places. Returns for each what was done, or None where no intact copy is."""
    damaged = list(damaged)
    source = find(bench, item)
    if source is None:
        return dict.fromkeys(damaged)
    done: dict[Where, str | None] = {}
    # The cache first: what cold storage is given comes from there.
    for holder in sorted(
        (holder for holder in bench.places if holder.where in damaged),
        key=lambda holder: not isinstance(holder, Cache),
    ):
        done[holder.where] = f"an intact copy came from {source.label}"
        if not bench.dry:
            _replace(bench, item, holder, source)
    return done


def find(bench: ObjectBench, item: Wanted) -> Source | None:
    """A copy that was just read and is whole."""
    for holder in bench.places:
        try:
            there = holder.size(item.md5) is not None
            if there and _is_whole(item, content.digests_of(holder, item.md5)):
                return Source(str(holder.where), partial(holder.open, item.md5))
        except Exception:  # noqa: S112  another place may hold a whole one
            continue
    for label, path in _elsewhere(bench, item):
        with path.open("rb") as file:
            read = files.digests(file)
        if _is_whole(item, read):
            return Source(label, partial(_opened, path))
    return None


def _opened(path: Path) -> Stream:
    return path.open("rb")


def _is_whole(item: Wanted, read: Digests) -> bool:
    return read.md5 == item.md5.removesuffix(".dir") and item.sha256 in (None, read.sha256)


def _elsewhere(bench: ObjectBench, item: Wanted) -> Iterable[tuple[str, Path]]:
    """The workspace, where its files are copies and not links into the cache; then a rebuild."""
    lock, pipeline = bench.root / artifacts.LOCK, bench.root / artifacts.PIPELINE
    outs = {}
    with contextlib.suppress(Exception):  # a damaged dvc.lock is mended elsewhere
        outs = outs_of(lock.read_bytes(), pipeline.read_bytes())
    candidates = [item.path, *(path for path, out in outs.items() if out.md5 == item.md5)]
    for path in dict.fromkeys(candidates):
        if content.is_inside(path) and (file := bench.root / path).is_file():
            yield f"the workspace's {path}", file
    if (
        (item.path == artifacts.MODEL.as_posix() or item.path.startswith(_KEYFRAME))
        and bench.remake
        and (made := bench.remake(item.generation, item.path))
    ):
        yield "a rebuild from base and adapters", made


def _replace(bench: ObjectBench, item: Wanted, holder: Place, source: Source) -> None:
    """Write the whole copy beside the place, check it while writing, move the old file to quarantine, then rename."""
    bench.scratch.mkdir(parents=True, exist_ok=True)
    if isinstance(holder, Cold):
        held = bench.scratch / item.md5
        try:
            _copy(item, source, held)
            if _present(holder, item.md5):
                holder.store.set_aside(holder.store.path(item.md5))
            holder.store.upload(held, item.md5)
        finally:
            held.unlink(missing_ok=True)
        return
    target = cache.path_of(bench.root, item.md5)
    with files.replacing(target, mode=0o444) as temporary:
        _copy(item, source, temporary)
        if os.path.lexists(target):
            quarantine.aside(bench.root, target, item.md5)


def _present(holder: Place, md5: str) -> bool:
    try:
        return holder.size(md5) is not None
    except NotARegularFile:
        return True


def _copy(item: Wanted, source: Source, target: Path) -> None:
    with source.open() as given, target.open("wb") as file:
        read = files.digests(given, copy=file)
    if not _is_whole(item, read):
        raise OSError(f"{source.label} returned other bytes for {item.md5[:12]} the second time")
