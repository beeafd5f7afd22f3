"""Checks the git bundles in cold storage: their bytes, and that they hold every sealed tag."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from luna import artifacts
from luna.audit.finding import Finding, cold
from luna.audit.picture import Picture
from luna.audit.problem import Problem, Severity
from luna.audit.workbench import Bench
from luna.errors import ColdStorageError
from luna.history import backup
from luna.repo.git import GitError
from luna.storage import packs
from luna.storage.cold import Store

_TAGS = "refs/tags/"


def check(picture: Picture, stores: Sequence[Store], quick: bool = False) -> list[Finding]:
    """Findings on every store that can be listed. ``quick`` believes names and headers; else every bundle is read, hashed and unpacked."""
    findings: list[Finding] = []
    for store in stores if picture.entries else ():
        try:
            findings += _check(picture, store, quick)
        except (ColdStorageError, OSError) as error:
            what = str(error) or type(error).__name__
            findings.append(_finding(Problem.COLD_GIT_UNREAD, store, what))
    return findings


def _check(picture: Picture, store: Store, quick: bool) -> list[Finding]:
    there = packs.names(store)
    if not there:
        promised = any(artifacts.HASHES_TRAILER in seal.fields for seal in picture.seals.values())
        # Else sealed before git's objects went into cold storage: the next seal brings them.
        return [_finding(Problem.COLD_GIT_NONE if promised else Problem.COLD_GIT_NOT_YET, store)]
    if quick:
        headers = packs.headers(store, picture.git.root)
        unread = [name for name in there if name not in headers]
        tips = {tip for name in packs.usable(headers) for tip in headers[name].tips}
        return [*_damaged(store, unread), *_tags(picture, store, tips)]
    with tempfile.TemporaryDirectory() as scratch:
        git = packs.repository(Path(scratch))
        unpacked = packs.unpack(store, git)
        findings = _damaged(store, unpacked.damaged) + _tags(picture, store, set(unpacked.tips))
        if not findings and not packs.is_whole(git, [entry.object for entry in picture.entries]):
            broken = next(
                entry.tag for entry in picture.entries if not packs.is_whole(git, [entry.object])
            )
            findings.append(_finding(Problem.COLD_GIT_PARTS, store, broken))
    return findings


def _tags(picture: Picture, store: Store, tips: set[tuple[str, str]]) -> list[Finding]:
    """Every tag of the record must be there as the record says."""
    findings = []
    lacking = [entry for entry in picture.entries if (_TAGS + entry.tag, entry.object) not in tips]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        findings.append(_finding(Problem.COLD_GIT_LACKS, store, lacking[0].tag + more))
    known = {_TAGS + entry.tag: entry.object for entry in picture.entries}
    for ref, oid in sorted(tips):
        if ref in known and known[ref] != oid:
            other = (ref.removeprefix(_TAGS), oid[:12])
            findings.append(_finding(Problem.COLD_GIT_OTHER, store, *other))
    return findings


def _damaged(store: Store, names: Sequence[str]) -> list[Finding]:
    where = cold(store.name)
    return [Finding(Problem.COLD_GIT_DAMAGED, where, f"{packs.FOLDER}/{name}") for name in names]


def _finding(problem: Problem, store: Store, *details: object) -> Finding:
    return Finding(problem, cold(store.name), packs.FOLDER, None, details)


def mend(bench: Bench, finding: Finding) -> str | None:
    """Damaged bundles go to quarantine, and what the store then lacks is written from this clone."""
    store = next((store for store in bench.stores if store.name == finding.where.store), None)
    if store is None:
        return None
    if bench.dry:
        return "the git objects are written again from this clone"
    try:
        for name in packs.names(store):
            try:
                packs.read(store, name)
            except ColdStorageError:
                packs.set_aside(store, name)
        backup.to_store(store, bench.git, bench.picture.prefix)
        if any(one.severity is Severity.DAMAGE for one in check(bench.picture, [store])):
            references = backup.references(bench.git, bench.picture.prefix)
            packs.put(store, bench.git, references, anew=True)
            if any(one.severity is Severity.DAMAGE for one in check(bench.picture, [store])):
                return None
    except GitError:
        return None  # this clone cannot give them
    return "the git objects were written again from this clone"
