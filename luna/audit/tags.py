"""Checks tags, branch and head against both records and the last recorded move."""

from __future__ import annotations

import itertools

import yaml

from luna import artifacts, names, strict_yaml
from luna.audit import gitstore
from luna.audit.finding import GIT, Finding
from luna.audit.picture import Picture, Seal
from luna.audit.problem import Problem
from luna.history import known, record, tip
from luna.history.line import read_line
from luna.history.tip import Position
from luna.names import assignment_number, head_tag
from luna.repo import signing
from luna.repo.signing import Verdict
from luna.repo.tag import TagBody


def check(picture: Picture) -> list[Finding]:
    """Findings about tags, the record, the head and the branch."""
    return [
        *_unknown(picture),
        *_record(picture),
        *_recorded_tags(picture),
        *_other_tags(picture),
        *_stray(picture),
        *_head(picture),
        *_branch(picture),
        *_peeled(picture),
    ]


def _unknown(picture: Picture) -> list[Finding]:
    """Seals whose commits are here and whose tags never came: of them nothing else can be checked."""
    if picture.unreadable:
        return []
    sealed = {seal.name for seal in picture.seals.values()}
    return [
        Finding(Problem.TAG_NEVER_CAME, GIT, name, name, (), f"{doubt.remedy}, or luna repair")
        for doubt in known.doubts(read_line(picture.git.root, picture.prefix))
        if doubt.kind is known.Kind.MISSING
        for name in doubt.tags
        if name not in sealed
    ]


def _record(picture: Picture) -> list[Finding]:
    findings = []
    if picture.seals and picture.record.missing:
        findings.append(Finding(_missing_record(picture), GIT, record.REF))
    elif picture.seals and not picture.record.whole:
        why = (picture.record.error,)
        findings.append(Finding(Problem.RECORD_DAMAGED, GIT, record.REF, None, why))
    before = {
        entry.tag: record.START if entry.number == 0 else entry.previous
        for entry in picture.entries
    }
    for seal in picture.seals.values():
        named = seal.fields.get(record.TRAILER)
        if named and seal.name in before and named != before[seal.name]:
            findings.append(Finding(Problem.RECORD_OTHER, GIT, record.REF, seal.name))
    return findings


def _missing_record(picture: Picture) -> Problem:
    if not any(record.TRAILER in seal.fields for seal in picture.seals.values()):
        return Problem.RECORD_NOT_BEGUN
    plain = known.is_plain_clone(read_line(picture.git.root, picture.prefix))
    return Problem.RECORD_NOT_FETCHED if plain else Problem.RECORD_MISSING


def _recorded_tags(picture: Picture) -> list[Finding]:
    findings = []
    for entry in picture.entries:
        in_git = picture.tags.get(entry.tag)
        generation = entry.tag if names.is_generation(entry.tag) else None
        if in_git is None:
            broken = f"refs/tags/{entry.tag}" in picture.broken
            problem = Problem.TAG_BROKEN if broken else Problem.TAG_DELETED
            findings.append(Finding(problem, GIT, entry.tag, generation))
        elif in_git != entry.object:
            ids = (in_git[:12], entry.object[:12])
            findings.append(Finding(Problem.TAG_MOVED, GIT, entry.tag, generation, ids))
    return findings


def _other_tags(picture: Picture) -> list[Finding]:
    """Immutable tags that the record lacks, and slips that look like one."""
    findings = []
    recorded = {entry.tag for entry in picture.entries}
    for tag, value in picture.tags.items():
        if (
            not record.is_recorded(tag)
            or tag in recorded
            or (names.is_generation(tag) and not tag.startswith(f"{picture.prefix}-G"))
        ):
            continue
        generation = tag if names.is_generation(tag) else None
        if value in picture.unreadable:
            continue  # named with git's objects
        if value in picture.light:
            findings.append(Finding(Problem.TAG_LIGHT, GIT, tag, generation))
        elif value not in picture.bodies:
            findings.append(Finding(Problem.TAG_OBJECT_MISSING, GIT, value, tag))
        elif picture.entries and picture.record.whole:
            seal = picture.seals.get(names.GenerationName.parse(tag).number) if generation else None
            if seal is not None and seal.name != tag:
                first = (seal.number, seal.name)
                findings.append(Finding(Problem.TAG_SECOND, GIT, tag, generation, first))
            else:
                findings.append(Finding(Problem.TAG_UNRECORDED, GIT, tag, generation))
    return findings


def _stray(picture: Picture) -> list[Finding]:
    """A tag object of Luna's under a name that is not its own: a name in git's files was damaged, or somebody copied it."""
    findings = []
    for tag, value in picture.tags.items():
        own = TagBody.of(picture.bodies.get(value)).name
        if own and own != tag and (record.is_recorded(own) or own == head_tag(picture.prefix)):
            generation = own if names.is_generation(own) else None
            findings.append(Finding(Problem.TAG_RENAMED, GIT, tag, generation, (own,)))
    return findings


def _assignments(picture: Picture) -> dict[int, str]:
    """Moves of the head: number -> commit, the record's word first."""
    bodies = {
        tag: picture.bodies[value] for tag, value in picture.tags.items() if value in picture.bodies
    }
    bodies |= {entry.tag: entry.body for entry in picture.entries}
    moves = {}
    for tag, body in bodies.items():
        if (count := assignment_number(tag)) is not None:
            moves[count] = TagBody.of(body).object
    return moves


def _head(picture: Picture) -> list[Finding]:
    moves = _assignments(picture)
    head = head_tag(picture.prefix)
    findings = []
    by_commit = {seal.commit: seal for seal in picture.seals.values()}
    for count in sorted(moves):
        seal = by_commit.get(moves[count])
        tag, move = names.assignment_tag(count), (count,)
        if seal is None:
            findings.append(Finding(Problem.HEAD_TO_NOTHING, GIT, tag, None, move))
        elif seal.fields.get("Verdict") != "promoted":
            findings.append(Finding(Problem.HEAD_TO_DENIED, GIT, tag, seal.name, move))
    gaps = set(range(1, max(moves, default=0) + 1)) - set(moves)
    findings += [
        Finding(Problem.HEAD_MOVE_GONE, GIT, names.assignment_tag(count), None, (count,))
        for count in sorted(gaps)
    ]
    if not moves:
        return findings
    wanted = moves[max(moves)]
    last = by_commit[wanted].name if wanted in by_commit else wanted[:12]
    value = picture.tags.get(head)
    if value is None:
        findings.append(Finding(Problem.HEAD_MISSING, GIT, head, None, (last,)))
    elif value not in picture.unreadable:
        points = TagBody.of(picture.bodies[value]).object if value in picture.bodies else value
        if points != wanted or value not in picture.bodies:
            moved = (points[:12], last)
            findings.append(Finding(Problem.HEAD_MOVED, GIT, head, None, moved))
    return findings


def _branch(picture: Picture) -> list[Finding]:
    """Some branch must hold the whole line, each generation descending from the one before it."""
    git = picture.git
    findings: list[Finding] = []
    if picture.unreadable:
        return findings  # git walks no history with holes; the holes are named
    at = (
        {commit: number for number, commit in enumerate(git.first_parents(picture.newest.commit))}
        if picture.newest
        else {}
    )
    for older, newer in itertools.pairwise(picture.seals.values()):
        on_line = older.commit in at and newer.commit in at and at[older.commit] > at[newer.commit]
        if not on_line and not git.is_ancestor(older.commit, newer.commit):
            findings.append(Finding(Problem.FORKED, GIT, newer.name, newer.name, (older.name,)))
    current = git.branch()
    if current and current not in picture.references and picture.newest:
        findings.append(Finding(Problem.BRANCH_MISSING, GIT, current))
    elif picture.newest:
        branches = [
            value for name, value in picture.references.items() if name.startswith("refs/heads/")
        ]
        if not any(git.is_ancestor(picture.newest.commit, value) for value in branches):
            findings.append(_no_branch(picture, picture.newest.name, current))
    findings += [
        Finding(Problem.BRANCH_BROKEN, GIT, name)
        for name in picture.broken
        if name != current and not name.startswith("refs/tags/") and name != record.REF
    ]
    known = {entry.tag for entry in picture.entries} | {head_tag(picture.prefix)}
    findings += [
        Finding(Problem.TAG_REFERENCE, GIT, name.removeprefix("refs/tags/"))
        for name in picture.broken
        if name.startswith("refs/tags/") and name.removeprefix("refs/tags/") not in known
    ]
    return findings


def _no_branch(picture: Picture, name: str, current: str | None) -> Finding:
    """No branch holds ``name``, the newest generation."""
    at = tip.where(read_line(picture.git.root, picture.prefix))
    if at.position is Position.REWRITTEN:
        return Finding(Problem.BRANCH_REWRITTEN, GIT, current or "HEAD", name, (name,), at.remedy)
    return Finding(Problem.BRANCH_BEHIND, GIT, current or "refs/heads", name, (name,))


def _peeled(picture: Picture) -> list[Finding]:
    """packed-refs keeps beside a tag what it points at, and git believes it."""
    findings = []
    for name, (value, peeled) in gitstore.packed_refs(picture.git)[0].items():
        body = picture.bodies.get(value)
        if body and peeled and TagBody.of(body).object != peeled:
            tag = name.removeprefix("refs/tags/")
            findings.append(
                Finding(Problem.PACKED_PEELED, GIT, gitstore.PACKED, tag, (peeled[:12],))
            )
    return findings


def check_seal(picture: Picture, seal: Seal) -> list[Finding]:
    """One generation's tag: made for it, on a commit whose parameters name it."""
    findings = []
    if seal.parsed.name != seal.name:
        findings.append(Finding(Problem.TAG_MADE_AS_OTHER, GIT, seal.name, seal.name))
    if seal.commit in picture.unreadable:
        return findings
    [text] = picture.read([f"{seal.commit}:{artifacts.PARAMS}"])
    try:
        named = (strict_yaml.load_1_1(text or b"") or {}).get("generation", {}).get("name")
    except (yaml.YAMLError, AttributeError):
        named = None
    if text is not None and named != seal.name:
        other = (named or "no generation",)
        findings.append(Finding(Problem.PARAMETERS_OTHER, GIT, seal.name, seal.name, other))
    return findings


_WHOM_TO_TRUST = {
    "ssh": "git config gpg.ssh.allowedSignersFile FILE",
    "openpgp": "gpg --import FILE, with the signer's public key",
    "x509": "gpgsm --import FILE, with the signer's certificate",
}
_UNTRUSTED = {
    Verdict.UNKNOWN_KEY: Problem.SIGNATURE_UNCHECKED,
    Verdict.UNTRUSTED: Problem.SIGNATURE_UNTRUSTED,
    Verdict.BAD: Problem.SIGNATURE_BAD,
}


def signature(picture: Picture, seal: Seal) -> tuple[str | None, Finding | None]:
    """Who signed the seal (None: nobody), and what is wrong with the signature."""
    checked = signing.examine(picture.git, seal.object, seal.body)
    if checked.verdict in (Verdict.NONE, Verdict.GOOD):
        return checked.signer, None
    remedy = (
        _WHOM_TO_TRUST[checked.kind or "ssh"] if checked.verdict is Verdict.UNKNOWN_KEY else None
    )
    return None, Finding(_UNTRUSTED[checked.verdict], GIT, seal.name, seal.name, (), remedy)
