#!/usr/bin/env python3
"""Checks a bundle with nothing but Python; a copy of this file is in every bundle.

A bundle is a zip of one form only: members stored, one after another from the first byte, each header a
function of name, size and CRC-32, nothing between or after them. This file writes that form (``local_header``,
``central_header``, ``end_records``) and the check compares every header with what it would have written; so
each bit of the file is either a header's, known in advance, or a member's, held by SHA256SUMS. Whatever a
zip can hide elsewhere (links, other paths, compression bombs, overlapping or doubled members, bytes
after the end) is refused. Layout of a zip: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16.

A bundle also carries git's own objects: the tag (tag.txt), its commit and the trees on the way to each file that git
keeps. Each names the next by its hash, so all files hang on one number, the tag's id; whoever compares that number with a
clone that he trusts has compared them all. What DVC keeps (the model, the adapter) is listed by SHA-256 in hashes.csv, which
the tag's message names by its own SHA-256. Form of git's objects: gitformat-pack(5), git-hash-object(1).
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
MOST_TEXT_BYTES = (
    64 << 20
)  # of a member that is read as a whole: sums, ledger, hashes, git's objects
TAG, COMMIT, TREES = "tag.txt", "git/commit", "git/trees/"  # git's objects, as git hashes them
OWN, OWN_IN_GIT = "check.py", "luna/bundle/check.py"

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
_DEVICE = re.compile(r"con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9]", re.IGNORECASE)


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
    """The result of a check: ``problems`` is empty for an intact bundle."""

    file: str
    generation: str = ""
    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    tag: str = ""  # id of the tag object: what to compare with a clone
    proof: str = ""  # what has been shown, and what has not, in a sentence


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
        return "is not in a generation's folder"
    if re.search(r'[^ -~]|[:<>"|?*]', name):  # control and direction marks, twins in other scripts
        return "has characters that a bundle's files never have"
    if any(part[-1] in ". " or part[0] == " " for part in parts):
        return "begins or ends in a way that some systems drop"
    if any(_DEVICE.fullmatch(part.partition(".")[0].strip()) for part in parts):
        return "is the name of a device on Windows"
    return None


def members(file: io.BufferedIOBase, length: int) -> list[Member]:
    """The members of a bundle whose every header is as it must be. Raises Damaged."""
    if length < _END_BYTES:
        raise Damaged("it is too short for a bundle: it is incomplete, or another file")
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
            "its last bytes are not those of a bundle: it is incomplete, something was added, or it is another file"
        )
    file.seek(start)
    directory = file.read(size)
    listed: list[Member] = []
    position, expected = 0, 0
    seen: set[str] = set()
    spelt: dict[str, str] = {}  # folders: one spelling each, and none of them a file
    for number in range(1, count + 1):
        member, position = _central(directory, position, number)
        why = refusal(member.name, listed[0].name.split("/")[0] if listed else None)
        if why:
            raise Damaged(f"its member {member.name!r} {why}")
        if member.name.casefold() in seen:
            raise Damaged(f"its member {member.name!r} is there twice")
        seen.add(member.name.casefold())
        parts = member.name.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if spelt.setdefault(parent.casefold(), parent) != parent:
                raise Damaged(f"its member {member.name!r} is in a folder that occurs twice")
        if member.offset != expected:
            raise Damaged(
                f"its member {member.name!r} is at another offset than expected: something was added, removed or overlaps"
            )
        file.seek(member.offset)
        header = local_header(member.name, member.size, member.crc)
        if file.read(len(header)) != header:
            raise Damaged(
                f"the header of its member {member.name!r} is not a bundle's (damaged, a link, or compressed)"
            )
        expected = member.data + member.size
        listed.append(member)
    if twins := sorted(seen & spelt.keys()):
        raise Damaged(f"its member {twins[0]!r} is a file and a folder")
    if position != len(directory) or expected != start:
        raise Damaged("its directory does not match its members: something was added or removed")
    return listed


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
    """Check everything. ``progress`` gets the bytes read. Raises OSError when the file cannot be read."""
    report = Report(path)
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        try:
            listed = members(file, length)
        except Damaged as error:
            report.problems.append(f"{os.path.basename(path)}: {error}")
            return report
        report.generation = listed[0].name.split("/")[0]
        report.files, report.bytes = len(listed), length
        texts, sums, blobs = _contents(file, listed, report, progress)
        if os.path.exists(path + ".sha256"):
            file.seek(0)
            while chunk := file.read(CHUNK_BYTES):
                whole.update(chunk)
            with open(path + ".sha256", encoding="utf-8", errors="replace") as beside:
                text = beside.read(MOST_TEXT_BYTES)
            # The file may have been given another name; its bytes may not have been changed.
            if text.split("  ")[0] != whole.hexdigest() or not re.fullmatch(
                r"[0-9a-f]{64}  [^\n]+\n", text
            ):
                report.problems.append(
                    f"{os.path.basename(path)}.sha256 does not hold the SHA-256 of the file beside it"
                )
    if not report.problems:
        report.problems += _claims(report.generation, texts, sums)
    if not report.problems:
        report.tag = object_id("tag", texts[TAG])
        report.problems += _proof(report, texts, sums, blobs)
    return report


def _contents(
    file: io.BufferedIOBase, parts: list[Member], report: Report, progress
) -> tuple[dict[str, bytes], dict[str, str], dict[str, str]]:
    """Read every member; what is not as it must be goes into the report.

    Returns by name in the folder: small members, all SHA-256 digests, all ids that git would give them.
    """
    texts: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    blobs: dict[str, str] = {}
    for member in parts:
        name = member.name.split("/", 1)[1]
        crc, digest, kept = 0, hashlib.sha256(), []
        blob = hashlib.sha1(b"blob %d\0" % member.size, usedforsecurity=False)
        file.seek(member.data)
        left = member.size
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
            digest.update(chunk)
            blob.update(chunk)
            if member.size <= MOST_TEXT_BYTES and (
                name in (SUMS, "lineage.csv", "models/hashes.csv", TAG, COMMIT)
                or name.startswith(TREES)
            ):
                kept.append(chunk)
            progress(len(chunk))
        digests[name], blobs[name] = digest.hexdigest(), blob.hexdigest()
        if kept:
            texts[name] = b"".join(kept)
        if crc != member.crc:
            report.problems.append(f"{name} is damaged: its bytes are not those that were bundled")
    if SUMS not in digests:
        report.problems.append(f"{SUMS} is missing: nothing says what the files must be")
        return texts, digests, blobs
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
    return texts, digests, blobs


def _claims(generation: str, texts: dict[str, bytes], digests: dict[str, str]) -> list[str]:
    """What the generation says of itself in three places must agree: its tag, its ledger, its hashes.csv."""
    problems = []
    for name in ("tag.txt", "lineage.csv", "models/hashes.csv", "models/model.gguf"):
        if name not in digests:
            problems.append(f"{name} is missing: the bundle is not a complete generation")
    if problems:
        return problems
    sealed = _digests_of_tag(texts)
    for key, name in (
        ("Weights-SHA256", "models/model.gguf"),
        ("Ledger-SHA256", "lineage.csv"),
        ("Hashes-SHA256", "models/hashes.csv"),
    ):
        # Seals of before did not name hashes.csv.
        if sealed.get(key) != digests[name] and (key in sealed or key != "Hashes-SHA256"):
            problems.append(f"{name} is not the one that the tag seals")
    if sealed.get("tag") != generation:
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


def _digests_of_tag(texts: dict[str, bytes]) -> dict[str, str]:
    """The tag's name, and the digests that its message names."""
    tag = texts.get(TAG, b"").decode("utf-8", "replace")
    return dict(re.findall(r"^(tag|[A-Za-z0-9-]+-SHA256):? (.*)$", tag, re.MULTILINE))


# -- git's objects


def object_id(kind: str, content: bytes) -> str:
    """The id that git gives an object of this content."""
    head = f"{kind} {len(content)}\0".encode()
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def entries(tree: bytes) -> dict[str, str]:
    """Object ids by name, of a git tree. Raises ValueError where it is none."""
    ids, position = {}, 0
    while position < len(tree):
        end = tree.index(b"\0", position)
        mode, space, name = tree[position:end].partition(b" ")
        oid = tree[end + 1 : end + 21]
        if not space or not mode.isdigit() or not name or len(oid) != 20:
            raise ValueError("not a tree")
        ids[name.decode("utf-8", "replace")] = oid.hex()
        position = end + 21
    return ids


def _proof(
    report: Report, texts: dict[str, bytes], digests: dict[str, str], blobs: dict[str, str]
) -> list[str]:
    """Every file against the tag: by the commit and its trees where git keeps it, else by hashes.csv. What hangs on neither is refused."""
    compare = f"compare with 'git rev-parse {report.generation}' in a clone that you trust"
    if COMMIT not in texts:
        if "Hashes-SHA256" in _digests_of_tag(texts):
            return [f"{COMMIT} is missing: nothing shows that the files are those of the tag"]
        report.proof = (
            f"The tag is {report.tag}: {compare}. Written by an earlier Luna, it does not prove that the files "
            "other than model.gguf and lineage.csv (EVAL.md, metrics.json, adapter and so on) are those of that tag."
        )
        return []
    trees, problems = {}, []
    for name, content in texts.items():
        if name.startswith(TREES):
            try:
                trees[object_id("tree", content)] = entries(content)
            except ValueError:
                problems.append(f"{name} is no git tree")
            if object_id("tree", content) != name.removeprefix(TREES):
                problems.append(f"{name} is not the git tree that it is named by")
    if not texts[TAG].startswith(
        f"object {object_id('commit', texts[COMMIT])}\ntype commit\n".encode()
    ):
        problems.append(f"{COMMIT} is not the commit that the tag names")
    root = re.match(rb"tree ([0-9a-f]{40})\n", texts[COMMIT])
    if problems or root is None or root[1].decode() not in trees:
        return problems or [f"the files of {COMMIT} are not listed: its tree is missing"]
    used: set[str] = set()

    def sealed(path: str) -> str | None:
        """The id that the tag's commit has for a file; None where it holds none, or the bundle lacks the tree."""
        at = root[1].decode()
        for part in path.split("/"):
            if at not in trees:
                return None
            used.add(at)
            if part not in trees[at]:
                return None
            at = trees[at][part]
        return at

    listed = {
        row["path"]
        for row in csv.DictReader(
            io.StringIO(texts["models/hashes.csv"].decode("utf-8", "replace"))
        )
    }
    hashes_sealed = "Hashes-SHA256" in _digests_of_tag(texts)
    for name in sorted(digests):
        if name in (SUMS, TAG, COMMIT) or name.startswith(TREES):
            continue
        oid = sealed(OWN_IN_GIT if name == OWN else name)
        if oid is not None:
            if oid != blobs[name]:
                problems.append(f"{name} is not the one that the tag seals")
        elif (
            name not in listed
            and name != OWN
            and not (name == "models/hashes.csv" and hashes_sealed)
        ):
            problems.append(
                f"{name} is neither in the tag's commit nor in hashes.csv: it was added"
            )
    problems += [
        f"{name} is missing"
        for name in ("params.yaml", "dvc.yaml", "dvc.lock")
        if name not in digests and sealed(name)
    ]
    problems += [
        f"{TREES}{oid} belongs to no file in the bundle: it was added"
        for oid in sorted(trees.keys() - used)
    ]
    report.proof = f"Every file is proven by the tag {report.tag}: {compare}."
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
    print(report.proof)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
