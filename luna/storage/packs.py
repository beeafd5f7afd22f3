"""A line's git objects in cold storage, as git bundles that build on each other.

Every file is a git bundle (gitformat-bundle(5), version 2), which git reads without Luna: 'git bundle verify FILE',
'git fetch FILE REF'. It is thin: it needs commits that it names (its prerequisites), and each of them is a
reference of an earlier bundle, so the headers alone show which bundles can be used. A file is
named by its number and the SHA-256 of its bytes; it is never written again, and two clones that write at once
write two files. The numbers only help a reader: the prerequisites say which bundle needs which.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from luna import artifacts, files
from luna.errors import ColdStorageError, InputError
from luna.repo.git import Git, GitError
from luna.storage.cold import Store

FOLDER = "luna-git"
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{64})\.bundle")
_SIGNATURE = b"# v2 git bundle\n"
_HEADERS = (
    artifacts.SCRATCH / "git-bundles.json"
)  # headers read before, by name: a name says the bytes
#: What a bundle may need, because these include everything else: branches, the record, and offered seals.
_MOVING = ("refs/heads/", "refs/luna/")
_READ_AT_ONCE = 8
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class Header:
    """``requires``: commits that must be there already. ``tips``: (reference, object id) that the bundle brings."""

    requires: tuple[str, ...]
    tips: tuple[tuple[str, str], ...]

    @property
    def bytes(self) -> bytes:
        """The header of the bundle file, as git reads it."""
        return b"".join(
            (
                _SIGNATURE,
                *(f"-{oid}\n".encode() for oid in self.requires),
                *(f"{oid} {ref}\n".encode("utf-8", "surrogateescape") for ref, oid in self.tips),
                b"\n",
            )
        )


@dataclass
class Unpacked:
    """What the bundles brought: ``tips`` in the order of the bundles; names of files that are damaged or need what is missing."""

    tips: list[tuple[str, str]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    stranded: list[str] = field(default_factory=list)


def parse(content: bytes) -> tuple[Header, int]:
    """A bundle's header, and where its pack begins. Raises InputError when it is no bundle of this form."""
    head, end, _ = content.partition(b"\n\n")
    if not end or not content.startswith(_SIGNATURE):
        raise InputError("It does not begin like a git bundle.")
    requires, tips = [], []
    for row in head[len(_SIGNATURE) :].decode("utf-8", "surrogateescape").split("\n"):
        if match := re.fullmatch(r"-([0-9a-f]{40})( .*)?", row):
            requires.append(match[1])
        elif match := re.fullmatch(r"([0-9a-f]{40}) (\S.*)", row):
            tips.append((match[2], match[1]))
        else:
            raise InputError("Its header is not a git bundle's.")
    return Header(tuple(requires), tuple(tips)), len(head) + len(end)


def names(store: Store) -> list[str]:
    """The bundles that the store lists, by number."""
    return [name for name in store.names(FOLDER) if _NAME.fullmatch(name)]


def headers(store: Store, root: Path) -> dict[str, Header]:
    """The header of each bundle in the store; one that cannot be read is left out. Headers are read once."""
    there, known = names(store), _remembered(root)
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        lacking = [name for name in there if name not in known]
        by_name = dict(
            zip(lacking, pool.map(lambda name: _header(store, name), lacking), strict=True)
        )
    if any(by_name.values()):
        known |= {name: header for name, header in by_name.items() if header}
        _remember(root, known)
    return {name: known[name] for name in there if name in known}


def usable(headers: Mapping[str, Header]) -> list[str]:
    """The bundles whose prerequisites are there, each after those that it needs."""
    have: set[str] = set()
    order: list[str] = []
    pending = sorted(headers)
    while pending:
        left = []
        for name in pending:
            if have.issuperset(headers[name].requires):
                have.update(oid for _, oid in headers[name].tips)
                order.append(name)
            else:
                left.append(name)
        if len(left) == len(pending):
            break
        pending = left
    return order


def held(store: Store, root: Path) -> set[tuple[str, str]]:
    """Every (reference, object id) that the store can bring back complete."""
    known = headers(store, root)
    return {tip for name in usable(known) for tip in known[name].tips}


def put(store: Store, git: Git, references: Mapping[str, str], anew: bool = False) -> str | None:
    """Bring what the store lacks of ``references`` (object ids by full name) into it, and read it back. Returns the new file's name.

    ``anew``: all of it, whatever the store holds.

    Raises:
        ColdStorageError: the store cannot be written, or does not give back what it was given.
    """
    known = {} if anew else headers(store, git.root)
    order = usable(known)
    sent = {tip for name in order for tip in known[name].tips}
    new = tuple(item for item in references.items() if item not in sent)
    if not new:
        return None
    stand_on: dict[str, str] = {}
    here = git.existing(
        {oid for name in order for ref, oid in known[name].tips if ref.startswith(_MOVING)}
    )
    for name in order:
        stand_on |= {_kind(ref): oid for ref, oid in known[name].tips if oid in here}
    header = Header(tuple(sorted(set(stand_on.values()))), new)
    content = header.bytes + _pack(git, header)
    digest = hashlib.sha256(content).hexdigest()
    number = max((int(name.partition("-")[0]) for name in names(store)), default=0) + 1
    name = f"{number:06d}-{digest}.bundle"
    _write(store, name, content)
    return name


def read(store: Store, name: str) -> bytes:
    """One bundle's bytes. Raises ColdStorageError when they are not those that it is named by."""
    with store.explained():
        try:
            content = store.odb.fs.cat_file(_path(store, name))
        except FileNotFoundError:
            content = b""
    if hashlib.sha256(content).hexdigest() != _digest(name):
        raise ColdStorageError(
            f"The cold storage '{store.name}' returns other bytes for {FOLDER}/{name}: see 'luna verify --remote'."
        )
    return content


def unpack(
    store: Store, git: Git, tick: Callable[[int, int], None] = lambda done, total: None
) -> Unpacked:
    """Bring every object of the store's bundles into the repository; no reference is changed. ``tick``: bundles done, and in all."""
    unpacked = Unpacked()
    contents: dict[str, Header] = {}
    pending = names(store)
    total, have, moved = len(pending), set[str](), True
    while pending and moved:
        moved, left = False, []
        for name in pending:
            requires = contents[name].requires if name in contents else None
            if (
                requires is not None
                and (lack := set(requires) - have)
                and lack - git.existing(lack)
            ):
                left.append(name)
                continue
            try:
                content = read(store, name)
                header, start = parse(content)
            except (ColdStorageError, InputError):
                unpacked.damaged.append(name)
                continue
            contents[name] = header
            if (lack := set(header.requires) - have) and lack - git.existing(lack):
                left.append(name)
                continue
            git.run("index-pack", "--stdin", "--fix-thin", stdin=content[start:])
            have.update(oid for _, oid in header.tips)
            unpacked.tips += header.tips
            moved = True
            tick(total - len(left), total)
        pending = left
    unpacked.stranded = pending
    return unpacked


def repository(folder: Path) -> Git:
    """A new bare repository to unpack into."""
    git = Git.at(folder)
    git.run("init", "--quiet", "--bare")
    return git


def set_aside(store: Store, name: str) -> str:
    """Move a damaged bundle into the store's quarantine. Returns where it went."""
    return store.set_aside(_path(store, name))


def is_whole(git: Git, objects: Iterable[str], past_cut: bool = False) -> bool:
    """Whether the repository has the objects with everything that they need, each file included.

    ``past_cut``: in a shallow clone, also what lies before the commits where it was cut.
    """
    try:
        git.run(
            "rev-list",
            "--objects",
            "--stdin",
            "--quiet",
            stdin="".join(f"{oid}\n" for oid in objects).encode(),
            env={"GIT_SHALLOW_FILE": os.devnull} if past_cut else None,
        )
    except GitError:
        return False
    return True


# -- one file


def _path(store: Store, name: str) -> str:
    return store.odb.fs.join(store.beside(FOLDER), name)


def _kind(ref: str) -> str:
    """References whose newest value includes all older ones: a branch, the record, all offered seals."""
    return ref if ref.startswith("refs/heads/") else "/".join(ref.split("/")[:3])


def _digest(name: str) -> str:
    return name.partition("-")[2].removesuffix(".bundle")


def _pack(git: Git, header: Header) -> bytes:
    """Everything that the tips need and the required commits do not have; deltas may build on those."""
    wanted = [oid for _, oid in header.tips] + [f"^{oid}" for oid in header.requires]
    return git.run(
        "pack-objects",
        "--revs",
        "--thin",
        "--stdout",
        "--delta-base-offset",
        "-q",
        stdin="".join(f"{word}\n" for word in wanted).encode(),
    )


def _write(store: Store, name: str, content: bytes) -> None:
    fs = store.odb.fs
    handle, temporary = tempfile.mkstemp()
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        with store.explained():
            fs.makedirs(store.beside(FOLDER))
            store.put(temporary, _path(store, name))
    finally:
        Path(temporary).unlink()
    read(store, name)


def _header(store: Store, name: str) -> Header | None:
    content = b""
    with store.explained(), store.odb.fs.open(_path(store, name), "rb") as file:
        while b"\n\n" not in content and (chunk := file.read(_HEADER_BYTES)):
            content += chunk
    try:
        return parse(content)[0]
    except InputError:
        return None


# -- headers that were read before


def _remembered(root: Path) -> dict[str, Header]:
    try:
        return {
            name: Header(tuple(requires), tuple((ref, oid) for ref, oid in tips))
            for name, (requires, tips) in files.read_json(root / _HEADERS).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(root: Path, known: Mapping[str, Header]) -> None:
    text = json.dumps({name: [header.requires, header.tips] for name, header in known.items()})
    with contextlib.suppress(OSError):  # only a shortcut
        files.write_text(root / _HEADERS, text)
