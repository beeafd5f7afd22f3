"""Checks the git bundles in cold storage: their bytes, and that they hold every sealed tag."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from luna import artifacts
from luna.audit.finding import COLD_GIT, DAMAGE, NOTE, Finding
from luna.audit.picture import Picture
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
            mend = "make the store answer, then luna verify --remote"
            findings.append(_finding(store, packs.FOLDER, f"it cannot be read: {what}", mend))
    return findings


def _check(picture: Picture, store: Store, quick: bool) -> list[Finding]:
    there = packs.names(store)
    if not there:
        promised = any(artifacts.HASHES_TRAILER in seal.fields for seal in picture.seals.values())
        what = "it holds no git objects, so it cannot bring the line back by itself"
        if promised:
            return [_finding(store, packs.FOLDER, what)]
        # Sealed before git's objects went into cold storage: the next seal brings them.
        return [_finding(store, packs.FOLDER, what, "luna archive HEAD", NOTE)]
    if quick:
        found = packs.headers(store, picture.git.root)
        unread = [name for name in there if name not in found]
        tips = {tip for name in packs.usable(found) for tip in found[name].tips}
        return [*_damaged(store, unread), *_tags(picture, store, tips)]
    with tempfile.TemporaryDirectory() as scratch:
        git = packs.repository(Path(scratch))
        unpacked = packs.unpack(store, git)
        findings = _damaged(store, unpacked.damaged) + _tags(picture, store, set(unpacked.tips))
        if not findings and not packs.is_whole(git, [entry.object for entry in picture.entries]):
            broken = next(
                entry.tag for entry in picture.entries if not packs.is_whole(git, [entry.object])
            )
            what = f"its git objects lack some of what {broken} stands on"
            findings.append(_finding(store, packs.FOLDER, what))
    return findings


def _tags(picture: Picture, store: Store, tips: set[tuple[str, str]]) -> list[Finding]:
    """Every tag of the record must be there as the record says."""
    findings = []
    lacking = [entry for entry in picture.entries if (_TAGS + entry.tag, entry.object) not in tips]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        what = f"it lacks git's objects of {lacking[0].tag}{more}"
        findings.append(_finding(store, packs.FOLDER, what))
    known = {_TAGS + entry.tag: entry.object for entry in picture.entries}
    for ref, oid in sorted(tips):
        if ref in known and known[ref] != oid:
            what = f"it also holds another {ref.removeprefix(_TAGS)} than the record's ({oid[:12]})"
            mend = "none: two histories were written there; compare with another clone"
            findings.append(_finding(store, packs.FOLDER, what, mend))
    return findings


def _damaged(store: Store, names: Sequence[str]) -> list[Finding]:
    return [
        _finding(store, f"{packs.FOLDER}/{name}", "its bytes are not those that it is named by")
        for name in names
    ]


def _finding(
    store: Store, what: str, said: str, mend: str = "luna repair", severity: str = DAMAGE
) -> Finding:
    return Finding(COLD_GIT, f"cold storage '{store.name}'", what, None, said, mend, severity)


def mend(bench: Bench, finding: Finding) -> str | None:
    """Damaged bundles are put aside, and what the store lacks then is written from this clone."""
    [store] = [
        store for store in bench.stores if finding.where == f"cold storage '{store.name}'"
    ] or [None]
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
        if any(found.severity == DAMAGE for found in check(bench.picture, [store])):
            references = backup.references(bench.git, bench.picture.prefix)
            packs.put(store, bench.git, references, anew=True)
            if any(found.severity == DAMAGE for found in check(bench.picture, [store])):
                return None
    except GitError:
        return None  # this clone cannot give them
    return "the git objects were written again from this clone"
