"""The record of tags: every immutable tag, in a hash chain that shows each removal.

The first record is git's own tags. Hooks guard them, but a clone without hooks, ``--no-verify`` or a
slip in ``.git`` gets past a hook. So each tag that a seal or a move of the head makes is also written,
whole, into an append-only file of JSON lines:

* in git, as the only file of the commits under ``refs/luna/record``; each of these commits has the one
  before it and the sealed commits as parents, so that git never prunes what the record names;
* in cold storage, one object an entry under ``luna-record/``, never rewritten;
* in history itself: each line holds the SHA-256 of the line before it, and each seal's message names
  the SHA-256 of the last line when it was sealed (``Record-SHA256``).

An entry holds the tag object's own bytes, so that a deleted or moved tag comes back bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from luna import names
from luna.errors import ColdStorageError, InputError
from luna.repo.git import ZERO, Git, Tag, Update
from luna.repo.tag import TagBody

if TYPE_CHECKING:
    from luna.storage.cold import Store

REF = "refs/luna/record"
FILE = "record.jsonl"
COLD_FOLDER = "luna-record"
START = "0" * 64  # what the first line names as the line before it
TRAILER = "Record-SHA256"
_TAGS = "refs/tags/"
_FIELDS = ("number", "tag", "object", "body", "previous")


class AlreadyWritten(ColdStorageError):
    """An entry of the record in cold storage is another clone's."""


@dataclass(frozen=True)
class Entry:
    """One immutable tag: the ``number``-th that was written, counted from 0. ``body`` is the tag object's content."""

    number: int
    tag: str
    object: str
    body: str
    previous: str

    @cached_property
    def line(self) -> str:
        """The entry as one line of JSON."""
        return json.dumps({name: getattr(self, name) for name in _FIELDS}, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the line; the next entry names it."""
        return hashlib.sha256(self.line.encode()).hexdigest()

    @property
    def commit(self) -> str:
        """The commit that the recorded tag points at."""
        return self.parsed.object

    @cached_property
    def parsed(self) -> TagBody:
        """The tag object's content, read."""
        return TagBody.of(self.body)


def is_recorded(tag: str) -> bool:
    """Whether a tag is of the kind that never moves: a generation, a version, an assignment of the head, a snapshot."""
    return (
        names.is_generation(tag)
        or names.is_snapshot(tag)
        or names.assignment_number(tag) is not None
        or names.is_version(tag)
    )


def object_id(body: str) -> str:
    """The id that git gives a tag object of this content."""
    return object_id_of(body.encode("utf-8", "surrogateescape"))


def object_id_of(content: bytes) -> str:
    """The id that git gives to a tag of this content."""
    return hashlib.sha1(b"tag %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def dumps(entries: Iterable[Entry]) -> str:
    """The entries as the record's file has them."""
    return "".join(entry.line + "\n" for entry in entries)


def loads(text: str) -> list[Entry]:
    """Raises InputError naming the line at which the chain does not hold."""
    return list(_loaded(text))  # a command reads it several times, and it is long


@lru_cache(maxsize=2)
def _loaded(text: str) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    lines = text.split("\n")
    if lines.pop():
        raise InputError(f"Line {len(lines) + 1} of the record is incomplete; run 'luna repair'.")
    for number, line in enumerate(lines):
        previous = entries[-1].digest if entries else START
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            entry = None
        if (
            entry is None
            or entry.line != line
            or entry.number != number
            or entry.previous != previous
            or object_id(entry.body) != entry.object
            or f"\ntag {entry.tag}\n" not in entry.body
        ):
            raise InputError(
                f"Line {number + 1} of the record does not match the line before it: it was altered; run 'luna repair'."
            )
        entries.append(entry)
    return tuple(entries)


def read(git: Git) -> list[Entry]:
    """The record in this clone; empty where there is none. Raises InputError where it was altered."""
    text = git.show(REF, FILE)
    return loads((text or b"").decode("utf-8", "replace"))


def tip_digest(entries: list[Entry]) -> str:
    """The digest that the next entry must name."""
    return entries[-1].digest if entries else START


def extended(entries: list[Entry], bodies: Iterable[tuple[str, str]]) -> list[Entry]:
    """``entries`` and one for each (tag, body) that they do not hold yet."""
    entries = list(entries)
    known = {entry.tag for entry in entries}
    for tag, body in bodies:
        if tag not in known:
            entries.append(Entry(len(entries), tag, object_id(body), body, tip_digest(entries)))
            known.add(tag)
    return entries


def written(git: Git, entries: list[Entry], old: str | None, since: int = 0) -> Update:
    """Write the record's next commit, and return the update that makes it the record. Entries before ``since`` are in ``old``."""
    blob = git.text("hash-object", "-w", "--stdin", stdin=dumps(entries).encode())
    tree = git.text("mktree", stdin=f"100644 blob {blob}\t{FILE}\n".encode())
    parents = dict.fromkeys([*([old] if old else []), *(entry.commit for entry in entries[since:])])
    present = git.existing(parents)
    commit = git.commit_tree(
        tree,
        [parent for parent in parents if parent in present],
        f"Record of {len(entries)} tags\n",
    )
    return Update(REF, commit, old or ZERO)


def current(git: Git) -> list[Entry]:
    """The record; for a line that is older than its record, the immutable tags that exist."""
    return read(git) or standing(git)


def standing(git: Git) -> list[Entry]:
    """What a record begun now would be."""
    return extended(
        [], _bodies(git, [tag for tag in git.tags() if tag.annotated and is_recorded(tag.name)])
    )


def ensure(git: Git, in_cold: Callable[[], list[Entry]] | None = None) -> None:
    """In a clone that has no record: take it from a git remote, else from cold storage, so that the old record is continued.

    A plain 'git clone' brings branches and tags only. ``in_cold`` gives what cold storage holds of *this* line.
    """
    if git.try_resolve(REF):
        return
    for remote in git.text("remote", check=False).splitlines():
        if git.attempt("fetch", "--quiet", "--no-tags", remote, f"{REF}:{REF}")[0] == 0:
            return
    entries = in_cold() if in_cold else []
    if entries:
        git.update([written(git, entries, None)], "luna: the record from cold storage")


def _bodies(git: Git, tags: list[Tag]) -> list[tuple[str, str]]:
    tags = sorted(tags, key=lambda tag: _order(tag.name))
    return [
        (tag.name, (body or b"").decode("utf-8", "surrogateescape"))
        for tag, body in zip(tags, git.cat([tag.object for tag in tags]), strict=True)
    ]


def following(git: Git, updates: list[Update]) -> list[Update]:
    """``updates`` and, last, the record's own update: an interrupted transaction never records a missing tag."""
    new = [
        item
        for item in updates
        if item.ref.startswith(_TAGS) and is_recorded(item.ref.removeprefix(_TAGS))
    ]
    if not new:
        return updates
    bodies = [
        (body or b"").decode("utf-8", "surrogateescape")
        for body in git.cat([item.new for item in new])
    ]
    known = read(git)
    entries = extended(
        known or standing(git),
        zip([item.ref.removeprefix(_TAGS) for item in new], bodies, strict=True),
    )
    return [*updates, written(git, entries, git.try_resolve(REF), len(known))]


def complete(git: Git, present: Iterable[Tag] | None = None) -> list[str]:
    """Bring back tags that the record names and that are gone, and record immutable tags that it lacks. Returns what was done.

    A tag that is there with another object than the record's is left as it is: that is for 'luna repair'.
    ``present``: all tags, where they were just read.
    """
    entries = read(git)
    tags = {tag.name: tag for tag in (git.tags() if present is None else present)}
    gone = [entry for entry in entries if entry.tag not in tags]
    for entry in gone:
        write_object(git, entry)
    updates = [Update(_TAGS + entry.tag, entry.object, ZERO) for entry in gone]
    known = {entry.tag for entry in entries}
    loose = [
        tag
        for tag in tags.values()
        if tag.annotated and is_recorded(tag.name) and tag.name not in known
    ]
    if loose:
        updates.append(
            written(git, extended(entries, _bodies(git, loose)), git.try_resolve(REF), len(entries))
        )
    if updates:
        git.update(updates, "luna: complete the record")
    return [
        *(f"{entry.tag} was restored from the record" for entry in gone),
        *(f"{tag.name} was recorded" for tag in loose),
    ]


def _order(tag: str) -> tuple[int, str]:
    if names.is_generation(tag):
        return names.GenerationName.parse(tag).number, tag
    return names.version_number(tag) or names.assignment_number(tag) or 0, tag


def write_object(git: Git, entry: Entry) -> None:
    """Write the tag's object again, bit for bit."""
    git.run(
        "hash-object",
        "-t",
        "tag",
        "-w",
        "--stdin",
        stdin=entry.body.encode("utf-8", "surrogateescape"),
    )


# -- cold storage


def in_cold(store: Store) -> list[Entry]:
    """The record as the store gives it back. Raises InputError where it was altered, ColdStorageError where the store does not answer."""
    texts = [store.read_note(COLD_FOLDER, name) for name in names_in_cold(store)]
    return loads(b"".join(texts).decode("utf-8", "replace"))


def names_in_cold(store: Store) -> list[str]:
    """The files of the record in the store, one an entry, in order."""
    return [name for name in store.names(COLD_FOLDER) if name.endswith(".json")]


def entry_in_cold(store: Store, name: str) -> Entry | None:
    """One entry, not compared with the one before it; None where it is not an entry."""
    try:
        return Entry(**json.loads(store.read_note(COLD_FOLDER, name)))
    except (ValueError, TypeError, FileNotFoundError):
        return None


def to_cold(store: Store, entries: list[Entry], after: bool = False) -> int:
    """Write the entries that the store lacks; those that it holds are never written again. Returns how many were written.

    ``after``: only where the store's last entry is the one that these follow.

    Raises AlreadyWritten where another clone wrote an entry of that number meanwhile: of two, one wins.
    """
    present = set(store.names(COLD_FOLDER))
    lacking = [entry for entry in entries if cold_name(entry) not in present]
    # Each entry names the one before it, so the last one proves all.
    known = [entry for entry in entries if after and cold_name(entry) in present][-1:]
    for entry in [*known, *lacking]:
        name, text = cold_name(entry), (entry.line + "\n").encode()
        written = entry in lacking and store.create_note(COLD_FOLDER, name, text)
        if not written and store.read_note(COLD_FOLDER, name) != text:
            raise AlreadyWritten(
                f"Another clone has written entry {entry.number} of the record in cold storage '{store.name}' "
                "at this moment: run the same command again."
            )
    return len(lacking)


def mend_cold(store: Store, entries: list[Entry]) -> None:
    """Move entries with wrong bytes to quarantine in the store, then write all that it lacks."""
    wanted = {cold_name(entry): entry.line + "\n" for entry in entries}
    with store.explained():
        for name in store.names(COLD_FOLDER):
            if name in wanted and store.read_note(COLD_FOLDER, name) != wanted[name].encode():
                store.set_aside(store.odb.fs.join(store.beside(COLD_FOLDER), name))
    to_cold(store, entries)


def cold_name(entry: Entry) -> str:
    """The name of the entry's copy in cold storage."""
    return f"{entry.number:06d}.json"
