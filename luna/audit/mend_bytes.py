"""Repairs objects: the damaged copy goes to quarantine, a good one takes its place."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from luna import artifacts, files
from luna.audit import content
from luna.audit.content import BUFFER_BYTES, Wanted
from luna.audit.places import Cache, Cold, NotPlain, Place
from luna.history.line import outs_of
from luna.repo import quarantine
from luna.storage import cache

#: Makes an output of a generation again from base and adapters: its model.gguf, or a file of its keyframe. A path in scratch, or None where it cannot.
Remake = Callable[[str, str], Path | None]
_KEYFRAME = f"{artifacts.KEYFRAME.as_posix()}/"


@dataclass
class Bench:
    """``copies`` remembers whole copies that were found outside the places, by MD5."""

    root: Path
    places: list[Place]
    dry: bool
    scratch: Path
    remake: Remake | None = None
    copies: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A copy that an object may be mended from: a store or cache, or a file."""

    label: str
    place: Place | None
    path: Path | None = None


def mend(bench: Bench, item: Wanted, damaged: Iterable[str]) -> dict[str, str | None]:
    """Replace the copies in the places named ``damaged``. Returns for each what was done, or None where no whole copy is."""
    damaged = list(damaged)
    source = find(bench, item)
    if source is None:
        return dict.fromkeys(damaged)
    done: dict[str, str | None] = {}
    # The cache first: what cold storage is given comes from there.
    for place in sorted(
        (place for place in bench.places if place.label in damaged),
        key=lambda place: not isinstance(place, Cache),
    ):
        done[place.label] = f"a whole copy came from {source.label}"
        if not bench.dry:
            _replace(bench, item, place, source)
    return done


def find(bench: Bench, item: Wanted) -> Source | None:
    """A copy that was just read and is whole."""
    for place in bench.places:
        try:
            if place.size(item.md5) is not None:
                md5, sha256 = content._digests(place, item.md5, True, lambda count: None)
                if _is_whole(item, md5, sha256):
                    return Source(place.label, place)
        except Exception:  # noqa: S112  another place may hold a whole one
            continue
    for label, path in _elsewhere(bench, item):
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if _is_whole(item, md5, files.digest(path)):
            return Source(label, None, path)
    return None


def _is_whole(item: Wanted, md5: str | None, sha256: str) -> bool:
    return md5 == item.md5.removesuffix(".dir") and item.sha256 in (None, sha256)


def _elsewhere(bench: Bench, item: Wanted) -> Iterable[tuple[str, Path]]:
    """The workspace, where its files are copies and not links into the cache; then a rebuild."""
    lock, pipeline = bench.root / artifacts.LOCK, bench.root / artifacts.PIPELINE
    outs = {}
    with contextlib.suppress(Exception):  # a damaged dvc.lock is mended elsewhere
        outs = outs_of(lock.read_bytes(), pipeline.read_bytes())
    candidates = [item.path, *(path for path, out in outs.items() if out.md5 == item.md5)]
    for path in dict.fromkeys(candidates):
        if content.is_inside(path) and (found := bench.root / path).is_file():
            yield f"the workspace's {path}", found
    if (
        (item.path == artifacts.MODEL.as_posix() or item.path.startswith(_KEYFRAME))
        and bench.remake
        and (made := bench.remake(item.generation, item.path))
    ):
        yield "a rebuild from base and adapters", made


def _replace(bench: Bench, item: Wanted, place: Place, source: Source) -> None:
    """Write the whole copy beside the place, check it while writing, put what was there aside, then rename."""
    bench.scratch.mkdir(parents=True, exist_ok=True)
    if isinstance(place, Cold):
        held = bench.scratch / item.md5
        try:
            _copy(item, source, held)
            if _present(place, item.md5):
                place.store.set_aside(place.store.path(item.md5))
            place.store.upload(held, item.md5)
        finally:
            held.unlink(missing_ok=True)
        return
    target = cache.path_of(bench.root, item.md5)
    with files.replacing(target, mode=0o444) as temporary:
        _copy(item, source, temporary)
        if os.path.lexists(target):
            quarantine.aside(bench.root, target, item.md5)


def _present(place: Place, md5: str) -> bool:
    try:
        return place.size(md5) is not None
    except NotPlain:
        return True


def _copy(item: Wanted, source: Source, target: Path) -> None:
    found, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with (
        source.place.open(item.md5) if source.place else source.path.open("rb") as given,
        target.open("wb") as file,
    ):
        while chunk := given.read(BUFFER_BYTES):
            found.update(chunk)
            sha256.update(chunk)
            file.write(chunk)
    if not _is_whole(item, found.hexdigest(), sha256.hexdigest()):
        raise OSError(f"{source.label} gave other bytes for {item.md5[:12]} the second time")
