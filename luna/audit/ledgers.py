"""The ledger: rows appended from tag to tag and never changed, and the workspace's copy as it was sealed."""

from __future__ import annotations

import csv
import hashlib
import io

from luna import artifacts, ledger
from luna.audit.finding import CONTENT, LEDGER, Finding
from luna.audit.picture import Picture, Seal
from luna.errors import InputError

_RESTORE = "luna repair (or 'git restore lineage.csv')"


def differences(expected: str, found: str) -> list[str]:
    """What became of a ledger, as a person would say it: line ends, columns, order of rows, single values."""
    if found == expected:
        return []
    if found.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n") == expected:
        return [
            "its line ends were changed (CRLF)"
            if "\r" in found
            else "a byte order mark was put before it"
        ]
    old, new = (
        list(
            csv.reader(
                io.StringIO(
                    text.removeprefix("\ufeff")
                    .replace("\r\n", "\n")
                    .replace("\r", "\n")
                    .replace("\0", "")
                )
            )
        )
        for text in (expected, found)
    )
    if not new or not old:
        return ["it is empty" if not new else "it was not empty when it was sealed"]
    said = ["its line ends were changed (CRLF)"] if "\r" in found else []
    if new[0] != old[0]:
        moved = sorted(new[0]) == sorted(old[0])
        return [
            *said,
            "its columns were reordered"
            if moved
            else f"its header was changed: {', '.join(sorted(set(new[0]) ^ set(old[0]))[:3])}",
        ]
    rows = {row[0]: row for row in new[1:] if row}
    for row in old[1:]:
        other = rows.pop(row[0], None)
        if other is None:
            said.append(f"the row of generation {row[0]} is gone")
        elif len(other) != len(row):
            said.append(f"the row of generation {row[0]} has {len(other)} values, not {len(row)}")
        else:
            said += [
                f"generation {row[0]}, {column}: '{was}' became '{now}'"
                for column, was, now in zip(old[0], row, other, strict=False)
                if was != now
            ]
    said += [f"a row of generation {number} was added" for number in rows]
    if not said:
        said.append(
            "its rows were reordered"
            if [row[0] for row in new[1:] if row] != [row[0] for row in old[1:]]
            else "its bytes differ (quoting or blanks)"
        )
    return said


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def check(picture: Picture) -> list[Finding]:
    """From tag to tag: the older ledger is the beginning of the newer, which adds the generation's own row."""
    findings: list[Finding] = []
    before: str | None = None
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
            before = None
            continue
        findings += check_seal(picture, seal, text, before)
        before = text
    return findings


def check_seal(picture: Picture, seal: Seal, text: str, before: str | None) -> list[Finding]:
    """Compare the ledger at a seal with what its tag promises and with the ledger before it."""
    findings = []
    where = (LEDGER, "git", artifacts.LEDGER.as_posix(), seal.name)
    promised = seal.fields.get("Ledger-SHA256")
    if promised and hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() != promised:
        findings.append(
            Finding(
                *where, "the ledger at its commit is not the one that its seal names", "luna repair"
            )
        )
    if before is not None and not text.startswith(before):
        lost = differences(
            before, "".join(text.splitlines(keepends=True)[: len(before.splitlines())])
        )
        findings.append(
            Finding(
                *where,
                f"past rows were altered by this seal: {'; '.join(lost[:3])}",
                "none: the rows stand as they were at the tag before",
            )
        )
    # Rows that the seal before had are read there.
    own = (
        text
        if before is None or not text.startswith(before)
        else text.partition("\n")[0] + "\n" + text[len(before) :]
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
