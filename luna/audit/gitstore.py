"""Checks git's own storage from its bytes: loose objects, packs and files of references.

git's commands trust what they read or die of it, and die without naming more than the first fault;
so loose objects and packed-refs are read here, and packs by ``git verify-pack``.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from luna.audit.finding import GIT, Finding
from luna.audit.problem import Problem
from luna.repo.git import Git, GitError

PACKED = "packed-refs"  # git's file of references that have none of their own
_PACKED_HEADER = re.compile(r"# pack-refs with:( peeled| fully-peeled| sorted)+ ?")
_PACKED_LINE = re.compile(r"([0-9a-f]{40}) (refs/\S+)")
_PEELED_LINE = re.compile(r"\^([0-9a-f]{40})")


def loose_path(git: Git, object_id: str) -> Path:
    """Where git keeps a loose object of this id."""
    return git.common_dir / "objects" / object_id[:2] / object_id[2:]


def loose_objects(git: Git) -> Iterator[tuple[str, Path]]:
    """Id and path of every loose object."""
    for folder in sorted((git.common_dir / "objects").glob("[0-9a-f][0-9a-f]")):
        for path in sorted(folder.iterdir()):
            if re.fullmatch("[0-9a-f]{38}", path.name):
                yield folder.name + path.name, path


def loose_content(path: Path) -> tuple[str, bytes] | None:
    """Type and content of a loose object whose bytes are its name's; None for any other."""
    try:
        decoder = zlib.decompressobj()
        raw = decoder.decompress(path.read_bytes()) + decoder.flush()
    except (zlib.error, OSError):
        return None
    if (
        not decoder.eof
        or decoder.unused_data
        or hashlib.sha1(raw, usedforsecurity=False).hexdigest() != path.parent.name + path.name
    ):
        return None
    header, _, content = raw.partition(b"\0")
    return header.split()[0].decode("ascii", "replace"), content


def damaged_loose(git: Git) -> dict[str, Path]:
    """Loose objects whose content is not what their id says, by id."""
    return {
        object_id: path for object_id, path in loose_objects(git) if loose_content(path) is None
    }


def damaged_packs(git: Git) -> list[Path]:
    """The index files of packs that 'git verify-pack' refuses."""
    packs = sorted((git.common_dir / "objects" / "pack").glob("pack-*.idx"))
    damaged = []
    for index in packs:
        try:
            git.run("verify-pack", str(index))
        except GitError:
            damaged.append(index)
    return damaged


def missing(git: Git) -> set[str]:
    """Objects that references need and that are not here. Asks only whether they exist; call it where none is damaged."""
    text = git.text(
        "fsck", "--connectivity-only", "--no-dangling", "--no-progress", "--no-reflogs", check=False
    )
    return set(re.findall(r"^missing \w+ ([0-9a-f]{40})", text, re.MULTILINE)) | set(
        re.findall(r"^\s+to\s+\w+ ([0-9a-f]{40})", text, re.MULTILINE)
    )


def packed_refs(git: Git) -> tuple[dict[str, tuple[str, str | None]], list[str]]:
    """Reference -> (object, what a tag points at or None) of packed-refs, and sentences on each line that is not of its form."""
    path = git.common_dir / PACKED
    if not path.exists():
        return {}, []
    rows: dict[str, tuple[str, str | None]] = {}
    wrong: list[str] = []
    last = None
    lines = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    if lines[-1]:
        wrong.append("its last line is cut")
    for number, line in enumerate(lines[:-1], start=1):
        if number == 1 and _PACKED_HEADER.fullmatch(line):
            continue
        if match := _PACKED_LINE.fullmatch(line):
            if last and match[2] <= last:
                wrong.append(f"line {number} is not in order")
            last = match[2]
            rows[last] = (match[1], None)
        elif last and rows[last][1] is None and (match := _PEELED_LINE.fullmatch(line)):
            rows[last] = (rows[last][0], match[1])
        else:
            wrong.append(f"line {number} is no reference")
            if not line.startswith("^"):
                last = None
    return rows, wrong


def check(
    git: Git, quick: bool, names: Callable[[], dict[str, str]]
) -> tuple[list[Finding], set[str]]:
    """Findings on git's storage and the ids of objects that cannot be read. ``names`` says what known objects are; it is asked only where one is damaged."""
    findings = []
    bad: set[str] = set()
    for object_id in damaged_loose(git):
        bad.add(object_id)
        findings.append(Finding(Problem.GIT_OBJECT_DAMAGED, GIT, object_id, names().get(object_id)))
    packs = [] if quick else damaged_packs(git)
    findings += [Finding(Problem.PACK_DAMAGED, GIT, index.stem) for index in packs]
    if not bad and not packs:
        for object_id in sorted(missing(git)):
            bad.add(object_id)
            findings.append(
                Finding(Problem.GIT_OBJECT_MISSING, GIT, object_id, names().get(object_id))
            )
    return findings, bad


def check_packed_refs(git: Git) -> list[Finding]:
    """A finding where packed-refs has lines that git cannot read."""
    _, wrong = packed_refs(git)
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return [Finding(Problem.PACKED_LINES, GIT, PACKED, None, (wrong[0] + more,))] if wrong else []


def check_loose_refs(git: Git) -> list[Finding]:
    """git takes a reference in capitals, or one whose line does not end; it never writes one so."""
    top = git.common_dir
    findings = []
    for path in sorted((top / "refs").rglob("*")):
        if path.is_file() and not path.name.endswith(".lock"):
            content = path.read_bytes()
            if not re.fullmatch(rb"([0-9a-f]{40}|ref: refs/\S+)\n", content):
                name = path.relative_to(top).as_posix()
                if git.try_resolve(name):
                    findings.append(
                        Finding(Problem.REFERENCE_FORM, GIT, name, name.removeprefix("refs/tags/"))
                    )
    return findings
