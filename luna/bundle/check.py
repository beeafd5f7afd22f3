#!/usr/bin/env python3
"""Check a bundle with nothing but Python: ``python check.py FILE`` (exit code 0 whole, 1 damaged or forged, 2 not readable).

A bundle is a zip of one form only: members stored, one after another from the first byte, each header a
function of name, size and CRC-32, nothing between or after them. This file writes that form (``local_header``,
``central_header``, ``end_records``) and the check compares every header with what it would have written; so
each bit of the file is either a header's, known in advance, or a member's, held by SHA256SUMS. Whatever a
zip can hide elsewhere (links, other paths, compression bombs, overlapping or doubled members, bytes
after the end) has no place to be in. Layout of a zip: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import struct
import sys
import zlib
from dataclasses import dataclass, field

SUMS = "SHA256SUMS"
CHUNK_BYTES = 1 << 20
MOST_MEMBERS = 100_000
MOST_TEXT_BYTES = 64 << 20  # of a member that is read as a whole: sums, ledger, hashes

_LOCAL, _CENTRAL, _END64, _LOCATOR, _END = (
    b"PK" + code for code in (b"\x03\x04", b"\x01\x02", b"\x06\x06", b"\x06\x07", b"\x05\x06")
)
_VERSION = 45  # zip64, always: one form, whatever the size
_UTF8 = 0x800
_DATE = 0x21  # 1980-01-01, the oldest that a zip can say: no bundle knows when it was made
_MADE_BY = (3 << 8) | _VERSION  # Unix, so that the mode below is read
_MODE = 0o100444 << 16  # a regular file, read-only
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_END_BYTES = 56 + 20 + 22


class Damaged(Exception):
    """The file is not a whole bundle; the sentence says where and how."""


@dataclass(frozen=True)
class Member:
    """``name`` with its folder, ``size`` in bytes, ``offset`` of its header from the start of the file."""

    name: str
    size: int
    crc: int
    offset: int

    @property
    def data(self) -> int:
        """Offset of its first byte."""
        return self.offset + len(local_header(self.name, self.size, self.crc))


@dataclass
class Report:
    """What was found: ``problems`` is empty for a whole bundle."""

    file: str
    generation: str = ""
    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def local_header(name: str, size: int, crc: int) -> bytes:
    """The header before a member's bytes."""
    raw = name.encode()
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    return (
        struct.pack(
            "<4sHHHHHIIIHH",
            _LOCAL,
            _VERSION,
            _UTF8,
            0,
            0,
            _DATE,
            crc,
            _FULL32,
            _FULL32,
            len(raw),
            len(extra),
        )
        + raw
        + extra
    )


def central_header(member: Member) -> bytes:
    """The member's header in the central directory."""
    raw = member.name.encode()
    extra = struct.pack("<HHQQQ", 1, 24, member.size, member.size, member.offset)
    return (
        struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            _CENTRAL,
            _MADE_BY,
            _VERSION,
            _UTF8,
            0,
            0,
            _DATE,
            member.crc,
            _FULL32,
            _FULL32,
            len(raw),
            len(extra),
            0,
            0,
            0,
            _MODE,
            _FULL32,
        )
        + raw
        + extra
    )


def end_records(count: int, start: int, size: int) -> bytes:
    """The three records at the end, for a central directory of ``count`` members and ``size`` bytes at ``start``."""
    return (
        struct.pack("<4sQHHIIQQQQ", _END64, 44, _MADE_BY, _VERSION, 0, 0, count, count, size, start)
        + struct.pack("<4sIQI", _LOCATOR, 0, start + size, 1)
        + struct.pack("<4sHHHHIIH", _END, 0, 0, _FULL16, _FULL16, _FULL32, _FULL32, 0)
    )


def refusal(name: str, folder: str | None) -> str | None:
    """Why a member may not have this name, or None: no absolute path, no way out of the folder, nothing odd."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\\" in name:
        return "is an absolute path or one of another system"
    if any(part in ("", ".", "..") for part in parts) or len(parts) < 2:
        return "leads out of the bundle's folder"
    if folder is not None and parts[0] != folder:
        return f"does not lie in {folder}/"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*-G\d{3,}-\d{8}-\d{6}", parts[0]):
        return "does not lie in a generation's folder"
    if any(ord(letter) < 32 or letter == "\x7f" or letter == ":" for letter in name):
        return "has letters that no file of a bundle has"
    return None


def members(file: io.BufferedIOBase, length: int) -> list[Member]:
    """The members of a bundle whose every header is as it must be. Raises Damaged."""
    if length < _END_BYTES:
        raise Damaged("it is too short to be a bundle: it was cut off, or is another file")
    file.seek(length - _END_BYTES)
    tail = file.read(_END_BYTES)
    count, size, start = struct.unpack_from("<QQQ", tail, 32)
    if (
        start + size + _END_BYTES != length
        or not 0 < count <= MOST_MEMBERS
        or size > count * 1024
        or tail != end_records(count, start, size)
    ):
        raise Damaged(
            "its last bytes are not a bundle's: it was cut off, something was added, or it is another file"
        )
    file.seek(start)
    directory = file.read(size)
    found = []
    position, expected = 0, 0
    seen = set()
    for number in range(1, count + 1):
        member, position = _central(directory, position, number)
        why = refusal(member.name, found[0].name.split("/")[0] if found else None)
        if why:
            raise Damaged(f"its member {member.name!r} {why}")
        if member.name.casefold() in seen:
            raise Damaged(f"its member {member.name!r} is there twice")
        seen.add(member.name.casefold())
        if member.offset != expected:
            raise Damaged(
                f"its member {member.name!r} does not lie where it must: something was put in, taken out or laid over another"
            )
        file.seek(member.offset)
        header = local_header(member.name, member.size, member.crc)
        if file.read(len(header)) != header:
            raise Damaged(
                f"the header of its member {member.name!r} is not a bundle's (damaged, a link, or compressed)"
            )
        expected = member.data + member.size
        found.append(member)
    if position != len(directory) or expected != start:
        raise Damaged("its directory does not fit its members: something was put in or taken out")
    return found


def _central(directory: bytes, position: int, number: int) -> tuple[Member, int]:
    try:
        crc, name_length = struct.unpack_from("<I8xH", directory, position + 16)
        raw = directory[position + 46 : position + 46 + name_length]
        size, offset = struct.unpack_from("<QxxxxxxxxQ", directory, position + 46 + name_length + 4)
        member = Member(raw.decode(), size, crc, offset)
    except (struct.error, UnicodeDecodeError):
        raise Damaged(f"entry {number} of its directory cannot be read") from None
    header = central_header(member)
    if directory[position : position + len(header)] != header:
        raise Damaged(
            f"entry {number} of its directory ({member.name!r}) is not a bundle's (damaged, a link, or compressed)"
        )
    return member, position + len(header)


def check(path: str, progress=lambda count: None) -> Report:
    """Check everything. ``progress`` is told the bytes read. Raises OSError when the file cannot be read."""
    report = Report(path)
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        try:
            found = members(file, length)
        except Damaged as error:
            report.problems.append(f"{os.path.basename(path)}: {error}")
            return report
        report.generation = found[0].name.split("/")[0]
        report.files, report.bytes = len(found), length
        texts, sums = _contents(file, found, report, progress)
        if os.path.exists(path + ".sha256"):
            file.seek(0)
            while chunk := file.read(CHUNK_BYTES):
                whole.update(chunk)
            with open(path + ".sha256", encoding="utf-8", errors="replace") as beside:
                said = beside.read(MOST_TEXT_BYTES)
            # The file may have been given another name; its bytes may not have been changed.
            if said.split("  ")[0] != whole.hexdigest() or not re.fullmatch(
                r"[0-9a-f]{64}  [^\n]+\n", said
            ):
                report.problems.append(
                    f"{os.path.basename(path)}.sha256 does not hold the SHA-256 of the file beside it"
                )
    if not report.problems:
        report.problems += _claims(report.generation, texts, sums)
    return report


def _contents(
    file: io.BufferedIOBase, found: list[Member], report: Report, progress
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Read every member; what is not as it must be goes into the report. Returns small members and all digests, by name in the folder."""
    texts: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    for member in found:
        name = member.name.split("/", 1)[1]
        crc, digest, kept = 0, hashlib.sha256(), []
        file.seek(member.data)
        left = member.size
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
            digest.update(chunk)
            if member.size <= MOST_TEXT_BYTES and name in (
                SUMS,
                "lineage.csv",
                "models/hashes.csv",
                "tag.txt",
            ):
                kept.append(chunk)
            progress(len(chunk))
        digests[name] = digest.hexdigest()
        if kept:
            texts[name] = b"".join(kept)
        if crc != member.crc:
            report.problems.append(f"{name} is damaged: its bytes are not those that were bundled")
    if SUMS not in digests:
        report.problems.append(f"{SUMS} is missing: nothing says what the files must be")
        return texts, digests
    listed = {}
    for row in texts.get(SUMS, b"").decode("utf-8", "replace").splitlines():
        value, _, name = row.partition("  ")
        listed[name] = value
    for name in sorted(set(listed) | set(digests) - {SUMS}):
        if name not in digests:
            report.problems.append(f"{name} is missing")
        elif name not in listed:
            report.problems.append(f"{name} is not in {SUMS}: it was added afterwards")
        elif digests[name] != listed[name] and not any(
            problem.startswith(f"{name} is damaged") for problem in report.problems
        ):
            report.problems.append(f"{name} is not what {SUMS} says")
    return texts, digests


def _claims(generation: str, texts: dict[str, bytes], digests: dict[str, str]) -> list[str]:
    """What the generation says of itself in three places must agree: its tag, its ledger, its hashes.csv."""
    problems = []
    for name in ("tag.txt", "lineage.csv", "models/hashes.csv", "models/model.gguf"):
        if name not in digests:
            problems.append(f"{name} is missing: the bundle is no whole generation")
    if problems:
        return problems
    tag = texts.get("tag.txt", b"").decode("utf-8", "replace")
    said = dict(re.findall(r"^(tag|[A-Za-z0-9-]+-SHA256):? (.*)$", tag, re.MULTILINE))
    for key, name in (("Weights-SHA256", "models/model.gguf"), ("Ledger-SHA256", "lineage.csv")):
        if said.get(key) != digests[name]:
            problems.append(f"{name} is not the one that the tag seals")
    if said.get("tag") != generation:
        problems.append(f"tag.txt is not {generation}'s tag")
    try:
        last = list(csv.DictReader(io.StringIO(texts.get("lineage.csv", b"").decode())))[-1]
        if (
            int(last["gen"]) != int(generation.split("-")[1][1:])
            or last["weights_sha256"] != digests["models/model.gguf"]
        ):
            problems.append(f"the ledger's last row is not {generation}'s")
        for row in csv.DictReader(io.StringIO(texts.get("models/hashes.csv", b"").decode())):
            if digests.get(row["path"]) != row["sha256"]:
                problems.append(
                    f"{row['path']} is not what hashes.csv says"
                    if row["path"] in digests
                    else f"{row['path']} is in hashes.csv and missing here"
                )
    except (IndexError, KeyError, TypeError, ValueError, csv.Error):
        problems.append("lineage.csv or hashes.csv cannot be read as a table")
    return problems


def main(arguments: list[str]) -> int:
    """Check the bundle that the arguments name; returns the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python check.py BUNDLE.zip", file=sys.stderr)
        return 2
    try:
        report = check(arguments[0])
    except OSError as error:
        print(f"check: {arguments[0]} cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    for problem in report.problems:
        print(f"check: {problem}", file=sys.stderr)
    if report.problems:
        return 1
    print(
        f"{report.generation}: {report.files} files, {report.bytes} bytes, all as they were bundled"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
