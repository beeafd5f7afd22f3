"""Chooses the repair for each finding about git, and repairs files that git keeps."""

from __future__ import annotations

import os

from luna import artifacts, files, names
from luna.audit import cold_git, mend_ledger, mend_objects, mend_record, mend_refs
from luna.audit.finding import WORKSPACE, Finding
from luna.audit.problem import Kind, Problem
from luna.audit.workbench import Bench
from luna.repo import interrupted, quarantine


def mend(bench: Bench, finding: Finding) -> str | None:
    """What was done (or, dry, would be done); None where nothing here can mend it."""
    match finding.kind:
        case Kind.REFERENCES if finding.problem is Problem.REFERENCE_FORM:
            return mend_refs.form(bench, finding.object)
        case Kind.REFERENCES:
            return mend_refs.packed_refs(bench)
        case Kind.GIT_OBJECT:
            return mend_objects.mend(bench, finding.object)
        case Kind.RECORD | Kind.COLD_RECORD:
            return mend_record.mend(bench)
        case Kind.COLD_GIT:
            return cold_git.mend(bench, finding)
        case Kind.STRAY:
            return mend_refs.stray(bench, finding.object)
        case Kind.TAG:
            return mend_refs.tag(bench, finding.object)
        case Kind.HEAD:
            return mend_refs.head(bench)
        case Kind.BRANCH:
            return mend_refs.branch(bench, finding.object)
        case Kind.ALTERED:
            return mend_ledger.correct(bench)
        case Kind.LEDGER | Kind.WORKSPACE if finding.where == WORKSPACE:
            return _workspace_file(bench, finding.object)
    return None


def _workspace_file(bench: Bench, path: str) -> str | None:
    if path == artifacts.LOCK.as_posix() and bench.building:
        if not bench.dry:
            interrupted.mend_lockfile(bench.root)
        return "it has its content from when the last stage began, or the sealed content"
    sealed = bench.git.show("HEAD", path)
    if sealed is None:
        return None
    if not bench.dry:
        target = bench.root / path
        if target.is_dir():  # of the user's own, perhaps: moved, never deleted
            quarantine.aside(bench.root, target, path)
        if target.is_file():
            quarantine.copy(bench.root, target, path)
        rest = b""
        if path == artifacts.LEDGER.as_posix() and bench.building:
            number = names.number_of(bench.building)
            rest = b"".join(
                line + b"\n"
                for line in (target.read_bytes().splitlines() if target.is_file() else [])
                if line.startswith(b"%d," % (number or -1))
            )
        with files.replacing(target) as temporary, temporary.open("wb") as file:
            file.write(sealed + rest)
            file.flush()
            os.fsync(file.fileno())
    return "the file has its sealed content again"
