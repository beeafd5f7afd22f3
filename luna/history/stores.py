"""Which line a cold storage belongs to; every command that writes there asks this first.

A store belongs to the line whose record it holds: the record's first entries never change, and are what a store is
known by. So a store that held this line and holds nothing now (a disk that is not mounted, another home folder) is
distinguished from a new one, another line's store from this one's, and a store that is ahead of this clone shows
that another clone sealed meanwhile. None of this needs more than a listing and one to three small files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from luna import artifacts, names
from luna.errors import ColdStorageError, InputError, LunaError, StateError
from luna.history import record, shared
from luna.history.line import Line, kept, sealed_outs
from luna.history.record import Entry
from luna.repo.git import Git, Update
from luna.repo.settings import standing
from luna.storage import cold, packs
from luna.storage.cold import Store

#: git config, one value a store: the addresses that this clone has seen hold the line's record.
HELD = "luna.heldBy"

#: In a store alone: a commit whose seal was offered to it, and may have come second.
OFFERED = "refs/luna/offered/"


class Holding(Enum):
    """What a store holds of the line."""

    NEW = "nothing, as expected"
    OURS = "this line's record"
    UNRECORDED = "objects of this line, and no record of it"
    LOST = "nothing of this line, although it should"
    OTHER = "another line's record"
    FORKED = "a record that is different from this clone's"


@dataclass(frozen=True)
class Look:
    """``entries`` is the number of tags that the store's record names; ``newer`` are those that this clone's does not."""

    store: Store
    holding: Holding
    entries: int = 0
    newer: list[Entry] = field(default_factory=list)
    known: int = 0
    other: str = ""


def look(store: Store, git: Git) -> Look:
    """Ask the store what it holds of this clone's line.

    Raises ColdStorageError where it does not answer, or its folder cannot be read.
    """
    own = _own(git)
    listed = record.names_in_cold(store)
    if not listed:
        if not own:
            return Look(store, Holding.NEW)
        holding = Holding.UNRECORDED if _holds_objects(store, git, own) else Holding.LOST
        return Look(store, holding, known=len(own))
    first = record.entry_in_cold(store, listed[0])
    if first is not None and not _is_ours(store, git, own, listed):
        return Look(store, Holding.OTHER, len(listed), known=len(own), other=_generation(store))
    stored = git.try_resolve(record.REF) is not None  # without a record, only its probable order
    last = min(len(listed), len(own)) - 1
    if stored and last >= 0 and record.entry_in_cold(store, listed[last]) != own[last]:
        return Look(store, Holding.FORKED, len(listed), known=len(own))
    newer = []
    if len(listed) > len(own):
        newer = record.in_cold(store)[len(own) :]
    return Look(store, Holding.OURS, len(listed), newer, len(own))


def _own(git: Git) -> list[Entry]:
    """This clone's record; where it was altered, one made from the existing tags."""
    try:
        return record.current(git)
    except InputError:
        return record.standing(git)


_FIRST = 9  # entries that a store is known by: the first generations, or the snapshots before them


def _is_ours(store: Store, git: Git, own: list[Entry], listed: list[str]) -> bool:
    """By a tag itself, or, in a clone that lacks tags, by a sealed commit that it has."""
    known = {(entry.tag, entry.object) for entry in own}
    entries = [record.entry_in_cold(store, name) for name in listed[:1]]
    if any(entry and (entry.tag, entry.object) in known for entry in entries):
        return True
    entries += [record.entry_in_cold(store, name) for name in listed[1:_FIRST]]
    return bool(git.existing([entry.commit for entry in entries if entry]))


def _generation(store: Store) -> str:
    """A name of the other line's, for a sentence."""
    for name in record.names_in_cold(store)[:_FIRST]:
        entry = record.entry_in_cold(store, name)
        if entry is not None and names.is_generation(entry.tag):
            return entry.tag
    return "another record"


def _holds_objects(store: Store, git: Git, own: list[Entry]) -> bool:
    """Whether it holds anything of what was sealed: then the record alone is lost, or a kill came before it."""
    tags = [
        entry.tag for entry in own if names.is_generation(entry.tag) or names.is_snapshot(entry.tag)
    ]
    for tag in dict.fromkeys([*tags[-1:], *tags[:1]]):
        with contextlib.suppress(LunaError):
            if any(store.exists(md5) for md5 in kept(sealed_outs(git.root, tag))[:3]):
                return True
    return False


def described(seen: Look) -> str:
    """One line of what is there, for a person."""
    match seen.holding:
        case Holding.NEW:
            return "empty"
        case Holding.OURS:
            count = f"this line's record, {seen.entries} tags"
            return f"{count}, {len(seen.newer)} of them new to this clone" if seen.newer else count
        case Holding.OTHER:
            return f"another line ({seen.other})"
        case holding:
            return holding.value


def require(store: Store, git: Git, begin: bool = False) -> Look:
    """The store may be written to: it is this line's, or new. ``begin``: a new one may be begun though the line is old.

    Raises:
        ColdStorageError: it is another line's, it does not answer, or it held the line and does not now.
    """
    seen = look(store, git)
    if sentence := refusal(seen, git, begin):
        raise ColdStorageError(sentence)
    return seen


def refusal(seen: Look, git: Git, begin: bool = False) -> str | None:
    """Why the store may not be written to; None where it may."""
    store = seen.store
    match seen.holding:
        case Holding.OTHER:
            return (
                f"The cold storage '{store.name}' at {store.address} already holds another line ({seen.other}): "
                "give this line a folder of its own ('luna cold FOLDER'), or, if it is this line, fetch its tags with 'git fetch --tags'; "
                "nothing was changed."
            )
        case Holding.FORKED:
            return (
                f"The record in cold storage '{store.name}' and this clone's differ: two clones have each added to the line without the other. "
                "Nothing was changed; 'luna verify --remote' names the first difference."
            )
        case Holding.LOST if not (begin and store.address not in held(git)):
            where = (
                "There is no folder " + store.root
                if not store.is_there()
                else f"{store.address} holds nothing of this line"
            )
            return (
                f"The cold storage '{store.name}' is unreachable or lost: {where}, although the line's record names {seen.known} tags that it should hold. "
                f"Mount its disk, or give its new path ('luna cold PATH{named(git, store)}'); if it is lost, "
                f"'luna cold {_shown(store.address)}{named(git, store)} --begin-anew' starts a new copy there. Nothing was written there."
            )
    return None


def named(git: Git, store: Store) -> str:
    """The option that 'luna cold' needs for this store: none for the default remote."""
    from luna.storage import config

    return "" if config.default_remote(git.root) == store.name else f" --name {store.name}"


def _shown(address: str) -> str:
    import shlex

    return shlex.quote(address)


def held(git: Git) -> list[str]:
    """Addresses of the stores that held the line when this clone last looked."""
    return git.text("config", "--get-all", HELD, check=False).splitlines()


def remember(store: Store, git: Git) -> None:
    """Note that this store holds the line, so that its absence is noticed in this clone."""
    if store.address not in held(git):
        git.run("config", "--add", HELD, store.address)


def open_all(
    root: Path,
    git: Git,
    remotes: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
    copies: int = 1,
) -> list[Store]:
    """The stores of cold storage that may be written to. ``tell`` gets a sentence for each that may not, if ``copies`` others may.

    Raises:
        ColdStorageError: one is another line's, or too few may be written to.
    """
    return [seen.store for seen in looked_at(root, git, remotes, tell, copies)]


def looked_at(
    root: Path,
    git: Git,
    remotes: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
    copies: int = 1,
) -> list[Look]:
    """As ``open_all``, with what each store holds."""
    good: list[Look] = []
    refused: list[str] = []
    for store in cold.open_all(root, remotes):
        try:
            seen = look(store, git)
            sentence = refusal(seen, git)
            if seen.holding is Holding.OTHER:
                raise AnotherLine(sentence)
        except AnotherLine:
            raise
        except ColdStorageError as error:
            sentence = str(error)
        if sentence:
            refused.append(sentence)
        else:
            good.append(seen)
    if len(good) < copies:
        raise ColdStorageError(refused[0])
    for sentence in refused:
        tell(sentence)
    return good


class AnotherLine(ColdStorageError):
    """The store is another line's: nothing of it may come into this clone, nothing of this line into it."""


def record_of_line(root: Path, git: Git, remotes: Sequence[str] | None = None) -> list[Entry]:
    """The longest record of *this* line that a store holds; empty where none does. Another line's is never taken.

    Raises ColdStorageError where no store answers.
    """
    best: list[Entry] = []
    failures: list[ColdStorageError] = []
    stores = cold.open_all(root, remotes)
    for store in stores:
        try:
            seen = require(store, git)
            if seen.entries > len(best):
                best = record.in_cold(store)
        except ColdStorageError as error:
            failures.append(error)
        except InputError:
            continue  # altered: verify names it
    if failures and len(failures) == len(stores):
        raise failures[0]
    return best


# -- which of two seals came first


def newer(root: Path, git: Git) -> tuple[Store, list[Entry]] | None:
    """The store that is furthest ahead of this clone, and what it knows more. Stores that do not answer are left out."""
    best: tuple[Store, list[Entry]] | None = None
    for store in cold.open_all(root):
        with contextlib.suppress(ColdStorageError):
            seen = require(store, git)
            if len(seen.newer) > len(best[1] if best else ()):
                best = (store, seen.newer)
    return best


def require_not_overtaken(ahead: tuple[Store, list[Entry]] | None) -> None:
    """Raises Overtaken where ``newer`` has told of a record that holds what is not here: another clone sealed, or moved the head."""
    if ahead:
        raise shared.Overtaken(overtaken(*ahead))


def overtaken(store: Store, entries: Sequence[Entry]) -> str:
    """The sentence for the clone that comes second."""
    tag = next((entry.tag for entry in entries if names.is_generation(entry.tag)), entries[0].tag)
    return (
        f"Cold storage '{store.name}' is ahead: another clone has recorded {tag} there. Nothing was sealed here; "
        "'luna seal --renumber' follows it, takes the next free number, and does not train again."
    )


def holds(line: Line, name: str, ahead: tuple[Store, list[Entry]] | None) -> list[Entry]:
    """The record of a store ``ahead`` that holds the seal of this very build, which a kill kept from being one here; else empty."""
    if not ahead:
        return []
    entry = next((entry for entry in ahead[1] if entry.tag == name), None)
    lock = line.git.root / artifacts.LOCK
    if entry is None or not line.git.existing([entry.commit]) or not lock.exists():
        return []
    sealed = line.git.show(entry.commit, artifacts.LOCK)
    return record.in_cold(ahead[0]) if sealed == lock.read_bytes() else []


def holds_move(root: Path, git: Git, tag: str, message: str) -> list[Entry]:
    """The record of a store that holds this very move of the head, which a kill kept from being one here; else empty."""
    ahead = newer(root, git)
    if not ahead:
        return []
    moves = [entry for entry in ahead[1] if entry.tag == tag]
    others = [entry for entry in ahead[1] if names.is_generation(entry.tag)]
    commits = {entry.commit for entry in ahead[1]}
    if others or not moves or git.existing(commits) != commits:
        return []
    words = moves[0].parsed.message
    return record.in_cold(ahead[0]) if words.startswith(message) else []


def bring(store: Store, git: Git, entries: Sequence[Entry]) -> None:
    """Make sure that the entries' commits are here. Raises StateError where no store has them."""
    wanted = {entry.commit for entry in entries}
    if wanted - git.existing(wanted):
        packs.unpack(store, git)
    lacking = wanted - git.existing(wanted)
    if lacking:
        tag = next(entry.tag for entry in entries if entry.commit in lacking)
        raise StateError(
            f"The commit of {tag} is neither in this clone nor in cold storage '{store.name}': fetch it from the clone that sealed it "
            "('git fetch FOLDER_OF_THAT_CLONE'), then run the same command again; nothing was changed."
        )


def adopt(git: Git, entries: list[Entry]) -> None:
    """Take a store's record as this clone's, and make the tags that it names. Their commits must be here."""
    own = record.read(git)
    git.update(
        [record.written(git, entries, git.try_resolve(record.REF), len(own))],
        "luna: the record from cold storage",
    )
    record.complete(git)


def offer(root: Path, git: Git, updates: Sequence[Update]) -> None:
    """Write the record's new entries into cold storage before any reference changes here: of two clones, one succeeds.

    A store that does not answer gets them another time.

    Raises:
        Overtaken: another clone was first.
    """
    commit = next((item.new for item in updates if item.ref == record.REF), None)
    if commit is None:
        return
    text = git.show(commit, record.FILE)
    entries = record.loads((text or b"").decode("utf-8", "replace"))
    copies = standing(
        root
    ).cold.copies  # a rollback may have brought the settings of an earlier Luna
    # The commits first, so that the record never names what is nowhere but here.
    offered = {
        f"{OFFERED}{item.new}": item.new for item in updates if item.ref.startswith("refs/heads/")
    }
    for seen in looked_at(root, git, copies=copies):
        store, theirs = seen.store, seen.newer
        if theirs and theirs != entries[theirs[0].number :][: len(theirs)]:
            raise shared.Overtaken(overtaken(store, theirs))
        packs.put(store, git, offered)
        try:
            record.to_cold(store, entries, after=True)
        except record.AlreadyWritten:
            require_not_overtaken(newer(root, git))
            raise
        remember(store, git)
