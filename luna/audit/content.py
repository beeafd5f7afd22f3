"""Checks every byte of every object, in cache and cold storage, against its hashes.

An object's name is its MD5; hashes.csv gives the SHA-256 of most. The first whole copy is read for
both digests at once; a further copy is then proven by SHA-256 alone, which this generation of
processors computes more than twice as fast as MD5.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from luna import files, names
from luna.audit.finding import CACHE, GIT, Finding
from luna.audit.places import NotARegularFile, Place
from luna.audit.problem import Problem
from luna.files import Digests, is_inside
from luna.hashes import Listed
from luna.history.line import Out
from luna.text import first_line

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Wanted:
    """An object that a generation needs. ``size`` and ``sha256`` where something sealed says them; ``path`` is its use."""

    md5: str
    path: str
    generation: str
    size: int | None = None
    sha256: str | None = None


def is_name(md5: object) -> bool:
    """Whether a text may name an object: anything else, such as ``../../x``, must never become a path."""
    return isinstance(md5, str) and _MD5.fullmatch(md5) is not None


def wanted(
    generation: str,
    outs: Iterable[Out],
    hashes: Mapping[str, Listed],
    places: Sequence[Place],
) -> tuple[list[Wanted], list[Finding]]:
    """The objects of a generation's outputs, the files of folders among them. ``hashes``: what its hashes.csv lists."""
    objects: list[Wanted] = []
    findings: list[Finding] = []
    for out in outs:
        if not out.cached:
            continue
        if not is_name(out.md5):
            named = (out.path, str(out.md5)[:40])
            findings.append(Finding(Problem.NO_HASH, GIT, "dvc.lock", generation, named))
            continue
        if not out.md5.endswith(".dir"):
            size, sha256 = hashes.get(out.path, (out.size, None))
            objects.append(Wanted(out.md5, out.path, generation, size, sha256))
            continue
        objects.append(Wanted(out.md5, out.path, generation))
        listing = _whole_listing(out.md5, places)
        for entry in _entries(listing):
            relative, md5 = entry.get("relpath"), entry.get("md5")
            if not is_inside(relative) or not is_name(md5):
                named = (out.path, str(relative)[:60])
                findings.append(Finding(Problem.LEADS_OUT, CACHE, out.md5, generation, named))
                continue
            path = f"{out.path}/{relative}"
            objects.append(Wanted(str(md5), path, generation, *hashes.get(path, ())))
    return objects, findings


def _entries(listing: bytes | None) -> list[dict]:
    try:
        rows = json.loads(listing or b"[]")
    except ValueError:
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _whole_listing(md5: str, places: Sequence[Place]) -> bytes | None:
    for holder in places:
        try:
            if holder.size(md5) is None:
                continue
            with holder.open(md5) as file:
                content = file.read()
        except Exception:  # what is wrong with it is found when it is read as an object
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5.removesuffix(".dir"):
            return content
    return None


def merged(items: Iterable[Wanted]) -> list[Wanted]:
    """Each object once, with all that is known of it, largest first."""
    by_md5: dict[str, Wanted] = {}
    for item in items:
        known = by_md5.get(item.md5)
        if known is None:
            by_md5[item.md5] = item
        else:
            by_md5[item.md5] = replace(
                known,
                size=known.size if known.size is not None else item.size,
                sha256=known.sha256 or item.sha256,
            )
    return sorted(by_md5.values(), key=lambda item: -(item.size or 0))


def total_bytes(items: Sequence[Wanted], places: Sequence[Place]) -> int:
    """What a full reading will read; objects whose size is not sealed are asked of the first place."""
    total = 0
    for item in items:
        size = item.size
        if size is None:
            try:
                size = places[0].size(item.md5) if places else 0
            except Exception:
                size = 0
        total += (size or 0) * len(places)
    return total


def scan(
    items: Sequence[Wanted],
    places: Sequence[Place],
    quick: bool = False,
    tick: Tick = lambda count: None,
) -> list[Finding]:
    """Findings on every object in every place; reads on as many cores as there are."""
    if quick:
        looked = [(item, holder, _look(item, holder)) for item in items for holder in places]
        present = {item.md5 for item, holder, finding in looked if finding is None}
        return [
            _judged(item, finding, item.md5 in present, places)
            for item, _, finding in looked
            if finding
        ]
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        return [
            finding
            for findings_of_one in pool.map(lambda item: _read(item, places, tick), items)
            for finding in findings_of_one
        ]


def _judged(item: Wanted, finding: Finding, whole: bool, places: Sequence[Place]) -> Finding:
    """The cache may lack what cold storage holds: then it is a note and not damage."""
    if finding.where != CACHE or finding.problem is not Problem.OBJECT_MISSING:
        return finding
    if whole:
        problem = Problem.NOT_CACHED
    elif len(places) == 1:
        problem = Problem.NOT_CACHED_ONLY_LOOK
    elif _is_thinned(item, places):
        problem = Problem.NOT_CACHED_THINNED
    else:
        return finding
    command = (
        f"luna snapshot restore {item.generation.removeprefix(names.SNAPSHOTS)} --to DIR"
        if names.is_snapshot(item.generation)
        else f"luna restore {item.generation}"
    )
    return replace(finding, problem=problem, remedy=f"{command}, when it is needed")


def _is_thinned(item: Wanted, places: Sequence[Place]) -> bool:
    """Whether a store is known to have dropped it on purpose: it is not lost, whichever place lacks it."""
    return any(item.md5 in holder.thinned for holder in places)


def _finding(problem: Problem, item: Wanted, holder: Place, *details: object) -> Finding:
    return Finding(problem, holder.where, item.md5, item.generation, (item.path, *details))


def _look(item: Wanted, holder: Place) -> Finding | None:
    try:
        size = holder.size(item.md5)
    except NotARegularFile as error:
        return _finding(Problem.OBJECT_NOT_PLAIN, item, holder, str(error))
    except Exception as error:
        return _finding(Problem.OBJECT_UNASKED, item, holder, _in_words(error))
    if size is None:
        dropped = item.md5 in holder.thinned
        return None if dropped else _finding(Problem.OBJECT_MISSING, item, holder)
    if item.size is None or size == item.size:
        return None
    problem = Problem.OBJECT_CUT if size < item.size else Problem.OBJECT_LONG
    return _finding(problem, item, holder, size, item.size)


_UNREADABLE = (Problem.OBJECT_MISSING, Problem.OBJECT_NOT_PLAIN, Problem.OBJECT_UNASKED)


def _read(item: Wanted, places: Sequence[Place], tick: Tick) -> list[Finding]:
    findings: list[Finding] = []
    # SHA-256 of bytes that have the name's MD5 and, where one was sealed, the sealed SHA-256.
    proven: str | None = None
    for holder in places:
        wrong = _look(item, holder)
        if wrong and wrong.problem in _UNREADABLE:
            findings.append(wrong)
            continue
        try:
            if item.md5 in holder.thinned and holder.size(item.md5) is None:
                continue
            read = digests_of(holder, item.md5, both=proven is None, tick=tick)
        except Exception as error:  # any exception of a store's library is a finding, and the other places are still read
            findings.append(_finding(Problem.OBJECT_UNREAD, item, holder, _in_words(error)))
            continue
        if proven is not None:
            whole = read.sha256 == proven
        else:
            named = read.md5 == item.md5.removesuffix(".dir")
            whole = named and item.sha256 in (None, read.sha256)
            if named and item.sha256 and not whole:
                findings.append(_finding(Problem.OBJECT_FORGED, item, holder, item.sha256[:12]))
                continue
        if whole:
            proven = read.sha256
            if wrong:  # the bytes are whole, so the size that was sealed is not theirs
                findings.append(_finding(Problem.SEALED_SIZE, item, holder))
        else:
            findings.append(wrong or _finding(Problem.OBJECT_OTHER, item, holder))
    return [_judged(item, finding, proven is not None, places) for finding in findings]


def digests_of(
    holder: Place, md5: str, both: bool = True, tick: Tick = lambda count: None
) -> Digests:
    """Of the bytes that the place gives for an object; without the MD5 where not ``both`` are asked for."""
    with holder.open(md5) as file:
        return files.digests(file, md5=both, read=tick)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
