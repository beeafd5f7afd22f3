"""Checks tags, branch and head against both records and the last recorded move."""

from __future__ import annotations

import itertools

import yaml

from luna import artifacts, names
from luna.audit import gitstore
from luna.audit.finding import (
    BRANCH,
    CONTENT,
    DAMAGE,
    FROM_REMOTE,
    GIT_OBJECT,
    HEAD,
    NOTE,
    RECORD,
    REFERENCES,
    REPAIR,
    SIGNATURE,
    STRAY,
    TAG,
    Finding,
)
from luna.audit.picture import Picture, Seal
from luna.history import known, record, tip
from luna.history.line import read_line
from luna.history.tip import Position
from luna.names import assignment_number, head_tag
from luna.repo import signing
from luna.repo.signing import Verdict


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
    return (
        [
            Finding(
                TAG,
                "git",
                name,
                name,
                "it is sealed in this history, and its tag is not here",
                f"{doubt.remedy}, or luna repair",
            )
            for doubt in known.doubts(read_line(picture.git.root, picture.prefix))
            if doubt.kind is known.Kind.MISSING
            for name in doubt.tags
            if all(name != seal.name for seal in picture.seals.values())
        ]
        if not picture.unreadable
        else []
    )


def _record(picture: Picture) -> list[Finding]:
    findings = []
    if picture.record_error and picture.seals:
        promised = any(record.TRAILER in seal.fields for seal in picture.seals.values())
        cause = picture.record_error
        severity = DAMAGE if promised or cause != "it is missing" else NOTE
        findings.append(
            Finding(
                RECORD,
                "git",
                record.REF,
                None,
                f"the record of tags is not whole: {cause}",
                REPAIR,
                severity,
            )
        )
    before = {
        entry.tag: record.START if entry.number == 0 else entry.previous
        for entry in picture.entries
    }
    for seal in picture.seals.values():
        named = seal.fields.get(record.TRAILER)
        if named and seal.name in before and named != before[seal.name]:
            findings.append(
                Finding(
                    RECORD,
                    "git",
                    record.REF,
                    seal.name,
                    "the seal names another record than this one: entries before it were changed or dropped",
                    "luna repair",
                )
            )
    return findings


def _recorded_tags(picture: Picture) -> list[Finding]:
    findings = []
    for entry in picture.entries:
        found = picture.tags.get(entry.tag)
        generation = entry.tag if names.is_generation(entry.tag) else None
        if found is None:
            state = (
                "its reference is broken"
                if f"refs/tags/{entry.tag}" in picture.broken
                else "the tag was deleted"
            )
            findings.append(
                Finding(TAG, "git", entry.tag, generation, f"{state}; the record holds it")
            )
        elif found != entry.object:
            findings.append(
                Finding(
                    TAG,
                    "git",
                    entry.tag,
                    generation,
                    f"the tag was moved or made anew: it is {found[:12]}, the record says {entry.object[:12]}",
                )
            )
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
            findings.append(
                Finding(
                    STRAY,
                    "git",
                    tag,
                    generation,
                    "it is a light tag, which no seal makes: it is no generation",
                )
            )
        elif value not in picture.bodies:
            findings.append(
                Finding(
                    GIT_OBJECT, "git", value, tag, "the tag's own object is missing", FROM_REMOTE
                )
            )
        elif picture.entries and not picture.record_error:
            seal = picture.seals.get(names.number_of(tag)) if generation else None
            if seal is not None and seal.name != tag:
                what = f"a second tag for generation {seal.number}, which is {seal.name}"
                findings.append(Finding(STRAY, "git", tag, generation, what))
            else:
                what = "the tag is in no record: no seal made it, or it was cut short"
                findings.append(Finding(TAG, "git", tag, generation, what))
    return findings


def _stray(picture: Picture) -> list[Finding]:
    """A tag object of Luna's under a name that is not its own: a name in git's files was damaged, or somebody copied it."""
    findings = []
    for tag, value in picture.tags.items():
        own = picture.bodies.get(value, "").partition("\ntag ")[2].partition("\n")[0]
        if own and own != tag and (record.is_recorded(own) or own == head_tag(picture.prefix)):
            findings.append(
                Finding(
                    STRAY,
                    "git",
                    tag,
                    own if names.is_generation(own) else None,
                    f"it is the tag {own} under another name",
                )
            )
    return findings


def _assignments(picture: Picture) -> dict[int, tuple[str, str]]:
    """Moves of the head: number -> (commit, message), the record's word first."""
    bodies = {
        tag: picture.bodies[value] for tag, value in picture.tags.items() if value in picture.bodies
    }
    bodies |= {entry.tag: entry.body for entry in picture.entries}
    found = {}
    for tag, body in bodies.items():
        if (count := assignment_number(tag)) is not None:
            found[count] = (
                body.partition("\n")[0].removeprefix("object "),
                body.partition("\n\n")[2],
            )
    return found


def _head(picture: Picture) -> list[Finding]:
    moves = _assignments(picture)
    head = head_tag(picture.prefix)
    findings = []
    by_commit = {seal.commit: seal for seal in picture.seals.values()}
    for count in sorted(moves):
        seal = by_commit.get(moves[count][0])
        if seal is None:
            findings.append(
                Finding(
                    HEAD,
                    "git",
                    names.assignment_tag(count),
                    None,
                    f"move {count} of the head names a commit that is no generation",
                    "none: look at 'luna log --head'",
                )
            )
        elif seal.fields.get("Verdict") != "promoted":
            findings.append(
                Finding(
                    HEAD,
                    "git",
                    names.assignment_tag(count),
                    seal.name,
                    f"move {count} of the head names a generation that the rule denied",
                    "luna rollback to a promoted generation",
                )
            )
    gaps = set(range(1, max(moves, default=0) + 1)) - set(moves)
    findings += [
        Finding(
            HEAD,
            "git",
            names.assignment_tag(count),
            None,
            f"move {count} of the head's history is gone, from the record too",
            "luna repair (from a git remote)",
        )
        for count in sorted(gaps)
    ]
    if not moves:
        return findings
    wanted = moves[max(moves)][0]
    value = picture.tags.get(head)
    if value is None:
        findings.append(
            Finding(
                HEAD,
                "git",
                head,
                None,
                f"the head is missing or broken; its last move was to {by_commit[wanted].name if wanted in by_commit else wanted[:12]}",
            )
        )
    elif value not in picture.unreadable:
        points = (
            picture.bodies.get(value, f"object {value}\n")
            .partition("\n")[0]
            .removeprefix("object ")
        )
        if points != wanted or value not in picture.bodies:
            findings.append(
                Finding(
                    HEAD,
                    "git",
                    head,
                    None,
                    f"the head was moved without a record: it is at {points[:12]}, its last recorded move was to {by_commit[wanted].name if wanted in by_commit else wanted[:12]}",
                )
            )
    return findings


def _branch(picture: Picture) -> list[Finding]:
    """Some branch must hold the whole line, each generation descending from the one before it."""
    git = picture.git
    findings = []
    if picture.unreadable:
        return findings  # git walks no history with holes; the holes are named
    place = (
        {commit: number for number, commit in enumerate(git.first_parents(picture.newest.commit))}
        if picture.newest
        else {}
    )
    for older, newer in itertools.pairwise(picture.seals.values()):
        on_line = (
            older.commit in place
            and newer.commit in place
            and place[older.commit] > place[newer.commit]
        )
        if not on_line and not git.is_ancestor(older.commit, newer.commit):
            findings.append(
                Finding(
                    CONTENT,
                    "git",
                    newer.name,
                    newer.name,
                    f"its commit does not descend from {older.name}'s: the line is forked",
                    "none: the line must stay one; see docs/durability.md",
                )
            )
    current = git.branch()
    if current and current not in picture.references and picture.newest:
        findings.append(
            Finding(
                BRANCH, "git", current, None, "the branch is missing or its reference is broken"
            )
        )
    elif picture.newest:
        branches = [
            value for name, value in picture.references.items() if name.startswith("refs/heads/")
        ]
        if not any(git.is_ancestor(picture.newest.commit, value) for value in branches):
            findings.append(_no_branch(picture, current))
    findings += [
        Finding(BRANCH, "git", name, None, "the reference is broken")
        for name in picture.broken
        if name != current and not name.startswith("refs/tags/") and name != record.REF
    ]
    known = {entry.tag for entry in picture.entries} | {head_tag(picture.prefix)}
    findings += [
        Finding(TAG, "git", name.removeprefix("refs/tags/"), None, "the reference is broken")
        for name in picture.broken
        if name.startswith("refs/tags/") and name.removeprefix("refs/tags/") not in known
    ]
    return findings


def _no_branch(picture: Picture, current: str | None) -> Finding:
    name = picture.newest.name
    at = tip.where(read_line(picture.git.root, picture.prefix))
    if at.position is Position.REWRITTEN:
        what = f"the commit that sealed {name} was amended or rewritten on this branch"
        return Finding(BRANCH, "git", current or "HEAD", name, what, at.remedy or REPAIR)
    what = f"no branch holds {name}: a branch was moved back or its reference is broken"
    return Finding(BRANCH, "git", current or "refs/heads", name, what)


def _peeled(picture: Picture) -> list[Finding]:
    """packed-refs keeps beside a tag what it points at, and git believes it."""
    findings = []
    for name, (value, peeled) in gitstore.packed_refs(picture.git)[0].items():
        body = picture.bodies.get(value)
        if body and peeled and not body.startswith(f"object {peeled}\n"):
            findings.append(
                Finding(
                    REFERENCES,
                    "git",
                    "packed-refs",
                    name.removeprefix("refs/tags/"),
                    f"it says that the tag points at {peeled[:12]}, which it does not",
                )
            )
    return findings


def check_seal(picture: Picture, seal: Seal) -> list[Finding]:
    """One generation's tag: made for it, on a commit whose parameters name it."""
    findings = []
    if f"\ntag {seal.name}\n" not in seal.body:
        findings.append(
            Finding(
                CONTENT,
                "git",
                seal.name,
                seal.name,
                "the tag object was made under another name",
                "none: it is no tag of Luna's",
            )
        )
    if seal.commit in picture.unreadable:
        return findings
    [text] = picture.read([f"{seal.commit}:{artifacts.PARAMS}"])
    try:
        named = (
            (yaml.load(text or b"", Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {})
            .get("generation", {})
            .get("name")
        )
    except (yaml.YAMLError, AttributeError):
        named = None
    if text is not None and named != seal.name:
        findings.append(
            Finding(
                CONTENT,
                "git",
                seal.name,
                seal.name,
                f"the parameters at its commit name {named or 'no generation'}",
                "luna repair, if the record names another commit",
            )
        )
    return findings


_WHOM_TO_TRUST = {
    "ssh": "git config gpg.ssh.allowedSignersFile FILE",
    "openpgp": "gpg --import FILE, with the signer's public key",
    "x509": "gpgsm --import FILE, with the signer's certificate",
}
_UNTRUSTED = {
    Verdict.UNKNOWN_KEY: "the signature cannot be checked: this clone lacks the signer's key, or does not say whom it trusts",
    Verdict.UNTRUSTED: "the signature is good, but its key is of nobody in the allowed signers file",
    Verdict.BAD: "the signature is not good",
}


def signature(picture: Picture, seal: Seal) -> tuple[str | None, Finding | None]:
    """Who signed the seal (None: nobody), and what is wrong with the signature."""
    found = signing.examine(picture.git, seal.object, seal.body)
    if found.verdict in (Verdict.NONE, Verdict.GOOD):
        return found.signer, None
    mend = {
        Verdict.UNKNOWN_KEY: _WHOM_TO_TRUST[found.kind or "ssh"],
        Verdict.UNTRUSTED: "add the signer to gpg.ssh.allowedSignersFile, if you trust the key",
        Verdict.BAD: "none: ask who sealed it",
    }[found.verdict]
    severity = NOTE if found.verdict is Verdict.UNKNOWN_KEY else DAMAGE
    return None, Finding(
        SIGNATURE, "git", seal.name, seal.name, _UNTRUSTED[found.verdict], mend, severity
    )
