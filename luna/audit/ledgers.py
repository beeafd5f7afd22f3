"""Checks that the ledger only grew from tag to tag, and that the workspace's copy is sealed."""

from __future__ import annotations

import hashlib

from luna import artifacts, ledger
from luna.audit.finding import GIT, Finding
from luna.audit.picture import Picture, Seal
from luna.audit.problem import Problem
from luna.errors import InputError

_LEDGER = artifacts.LEDGER.as_posix()


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
                findings.append(Finding(Problem.LEDGER_MISSING, GIT, _LEDGER, seal.name))
            continue
        if wrong := ledger.altered_rows(truth.text, text):
            altered[seal.name] = wrong
        findings += check_seal(picture, seal, text, truth.text)
        truth.add(seal.number, text)
    tip = _at_tip(picture)
    wrong = ledger.altered_rows(truth.text, tip or text or "")
    if wrong and tip not in (None, text):
        findings.append(Finding(Problem.ROWS_AT_TIP, GIT, _LEDGER, None, (_listed(wrong),)))
    problem = Problem.ROWS_ALTERED if wrong else Problem.ROWS_CORRECTED
    return findings + [
        Finding(problem, GIT, _LEDGER, name, (_listed(rows),)) for name, rows in altered.items()
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
    if picture.newest is None or picture.unreadable:
        return None  # git walks no history with holes; the holes are named
    git, newest = picture.git, picture.newest.commit
    if not git.try_resolve(f"{newest}^{{commit}}"):
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
    findings: list[Finding] = []

    def say(problem: Problem, *details: object) -> None:
        findings.append(Finding(problem, GIT, _LEDGER, seal.name, details))

    promised = seal.fields.get("Ledger-SHA256")
    if promised and hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() != promised:
        say(Problem.LEDGER_OTHER)
    # Rows that the seal before had are read there.
    own = (
        text.partition("\n")[0] + "\n" + text[len(before) :]
        if before and text.startswith(before)
        else text
    )
    try:
        rows = {row.gen: row for row in ledger.loads(own)}
    except InputError as error:
        say(Problem.LEDGER_UNREAD, str(error))
        return findings
    row = rows.get(seal.number)
    if row is None:
        say(Problem.LEDGER_NO_ROW)
        return findings
    if seal.fields.get("Weights-SHA256") not in (None, row.weights_sha256):
        say(Problem.LEDGER_WEIGHTS)
    parent = seal.fields.get("Parent")
    if parent not in (None, str(row.parent)):
        say(Problem.LEDGER_PARENT, row.parent, parent)
    if isinstance(row.parent, int) and row.parent not in picture.seals:
        say(Problem.PARENT_UNSEALED, row.parent)
    return findings


def line_of(picture: Picture, number: int) -> list[Seal]:
    """The generation and its ancestors that are sealed here, newest first."""
    parents = {gen: picture.parents.get(gen) for gen in picture.seals}
    return [picture.seals[gen] for gen in ledger.descent(parents, number)]
