"""Checks that the ledger only grew from tag to tag, and that the workspace's copy is sealed."""

from __future__ import annotations

import hashlib

from luna import artifacts, ledger
from luna.audit.finding import ALTERED, CONTENT, DAMAGE, LEDGER, NOTE, REPAIR, Finding
from luna.audit.picture import Picture, Seal
from luna.errors import InputError

_RESTORE = "luna repair (or 'git restore lineage.csv')"


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def check(picture: Picture) -> list[Finding]:
    """From tag to tag: each ledger begins with all rows as they were first sealed, and adds the generation's own; so does the tip's."""
    findings: list[Finding] = []
    truth = ledger.AsFirstSealed()
    altered: dict[str, list[str]] = {}
    text = None
    for seal in picture.seals.values():
        text = _text(
            *picture.read([f"{seal.commit}:{artifacts.LEDGER}"])
        )  # two at a time: all of a long line's are its square
        if text is None:
            if not picture.unreadable:
                findings.append(
                    Finding(
                        LEDGER,
                        "git",
                        artifacts.LEDGER.as_posix(),
                        seal.name,
                        "the sealed commit holds no ledger",
                        "luna repair (from a git remote)",
                    )
                )
            continue
        if wrong := ledger.altered_rows(truth.text, text):
            altered[seal.name] = wrong
        findings += check_seal(picture, seal, text, truth.text)
        truth.add(seal.number, text)
    tip = _at_tip(picture)
    wrong = ledger.altered_rows(truth.text, tip or text or "")
    if wrong and tip not in (None, text):
        findings.append(
            Finding(
                ALTERED,
                "git",
                artifacts.LEDGER.as_posix(),
                None,
                f"the branch's ledger is not the sealed one: {_listed(wrong)}",
                REPAIR,
            )
        )
    return findings + [
        Finding(
            ALTERED,
            "git",
            artifacts.LEDGER.as_posix(),
            name,
            f"past rows were altered by this seal: {_listed(rows)}{'' if wrong else '; corrected since'}",
            REPAIR if wrong else "",
            DAMAGE if wrong else NOTE,
        )
        for name, rows in altered.items()
    ]


def _listed(items: list[str]) -> str:
    return "; ".join(items[:3]) + (f"; and {len(items) - 3} more" if len(items) > 3 else "")


def true_text(picture: Picture) -> str:
    """The ledger with each row as it was first sealed."""
    truth = ledger.AsFirstSealed()
    for seal in picture.seals.values():
        text = _text(*picture.read([f"{seal.commit}:{artifacts.LEDGER}"]))
        if text is not None:
            truth.add(seal.number, text)
    return truth.text


def _at_tip(picture: Picture) -> str | None:
    """The ledger of the commit checked out where it holds the newest generation, else of a branch that does; None where none does."""
    if picture.newest is None:
        return None
    git, newest = picture.git, picture.newest.commit
    if not git.resolve(f"{newest}^{{commit}}"):
        return None
    if git.is_ancestor(newest, "HEAD"):
        return _text(*picture.read([f"HEAD:{artifacts.LEDGER}"]))
    branches = git.text(
        "for-each-ref",
        f"--contains={newest}",
        "--format=%(refname)",
        "refs/heads",
        "refs/remotes",
        check=False,
    ).splitlines()
    return _text(*picture.read([f"{branches[0]}:{artifacts.LEDGER}"])) if branches else None


def check_seal(picture: Picture, seal: Seal, text: str, before: str) -> list[Finding]:
    """What the ledger says of the generation itself; ``before`` are the rows before its own."""
    findings = []
    where = (LEDGER, "git", artifacts.LEDGER.as_posix(), seal.name)
    promised = seal.fields.get("Ledger-SHA256")
    if promised and hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() != promised:
        findings.append(
            Finding(
                *where, "the ledger at its commit is not the one that its seal names", "luna repair"
            )
        )
    # Rows that the seal before had are read there.
    own = (
        text.partition("\n")[0] + "\n" + text[len(before) :]
        if before and text.startswith(before)
        else text
    )
    try:
        rows = {row.gen: row for row in ledger.loads(own)}
    except InputError as error:
        return [*findings, Finding(*where, str(error), "none: it was sealed so")]
    row = rows.get(seal.number)
    if row is None:
        return [
            *findings,
            Finding(*where, "the ledger has no row of this generation", "none: it was sealed so"),
        ]
    if seal.fields.get("Weights-SHA256") not in (None, row.weights_sha256):
        findings.append(
            Finding(
                CONTENT,
                "git",
                artifacts.LEDGER.as_posix(),
                seal.name,
                "weights_sha256 in the ledger is not what its seal names",
                "none: it was sealed so",
            )
        )
    if seal.fields.get("Parent") not in (None, str(row.parent)):
        findings.append(
            Finding(
                CONTENT,
                "git",
                artifacts.LEDGER.as_posix(),
                seal.name,
                f"the ledger names parent {row.parent}, its seal {seal.fields['Parent']}",
                "none: it was sealed so",
            )
        )
    if isinstance(row.parent, int) and row.parent not in picture.seals:
        findings.append(
            Finding(
                CONTENT,
                "git",
                artifacts.LEDGER.as_posix(),
                seal.name,
                f"its parent, generation {row.parent}, is not sealed here",
                "git fetch, or luna repair",
            )
        )
    return findings


def line_of(picture: Picture, number: int) -> list[Seal]:
    """The generation and its ancestors that are sealed here, newest first."""
    known = picture.parents
    chain: list[Seal] = []
    current: int | str | None = number
    while isinstance(current, int) and current in picture.seals and len(chain) <= len(known):
        chain.append(picture.seals[current])
        current = known.get(current)
    return chain
