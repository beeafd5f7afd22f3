"""Whether this clone knows the whole line; missing tags are never taken for "there is none".

Four sources show which generations are sealed: git's tags; the record in git (refs/luna/record); the
ledger and the commits of what is checked out; and, where it is asked, the record in cold storage. Luna reads
the line from the tags. Where another source has more or something else, that is a doubt:
commands that only read name it, and commands that write refuse (luna/operations/gate.py).

The check is cheap: three git processes, however long the line is. It compares names
and ids; whether every byte is right is for luna/audit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from luna import artifacts, names
from luna.errors import StateError
from luna.history import record
from luna.history.line import Line
from luna.history.shared import PUSH_REMOTE
from luna.names import GenerationName
from luna.repo import checkout
from luna.repo.git import Git, Tag


class Kind(StrEnum):
    """Kinds of doubt about the tags of this clone."""

    SHALLOW = "shallow clone"
    MISSING = "tags missing"  # commits of seals are here, their tags never were
    DELETED = "tags deleted"  # the record in git holds them
    MOVED = "tag moved"
    TWIN = "two tags for one generation"
    HEAD = "head moved"
    HALF = "interrupted seal"  # its references came one after the other, the record last
    UNRECORDED = "tag in no record"
    STORE_AHEAD = "cold storage knows more"
    CUT = "interrupted rollback"
    NO_RECORD = "record not fetched"  # a plain 'git clone' leaves it at the remote


_REFERENCES = record.REF.rpartition("/")[
    0
]  # what the refspecs of 'luna init' fetch, the record among it

#: Only a remark: it does not contradict the tags.
_HARMLESS = frozenset({Kind.UNRECORDED, Kind.NO_RECORD})


@dataclass(frozen=True)
class Doubt:
    """``remedy`` is the command that settles it; ``tags`` are those concerned, ``commits`` their commits where only these are known."""

    kind: Kind
    what: str
    remedy: str
    tags: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()

    @property
    def stops(self) -> bool:
        """Whether nothing may be written before it is settled."""
        return self.kind not in _HARMLESS

    @property
    def sentence(self) -> str:
        """What is wrong, and the command that helps."""
        return f"{self.what}: {self.remedy}"


def doubts(line: Line, in_store: Sequence[record.Entry] | None = None) -> list[Doubt]:
    """The doubts about the tags; none means that the tags are the whole line, as far as is known here.

    ``in_store``: the record in cold storage, where it was asked. Raises GitError when git cannot read its own objects.
    """
    git = line.git
    if is_shallow(git):
        # Everything older than the cut is missing; further doubts would only follow from that.
        return [
            Doubt(
                Kind.SHALLOW,
                "This is a shallow clone, which has only the newest part of the history",
                "git fetch --unshallow --tags",
            )
        ]
    text, ledger, settings = git.cat(
        [f"{record.REF}:{record.FILE}", f"HEAD:{artifacts.LEDGER}", f"HEAD:{artifacts.PARAMS}"]
    )
    recorded = _recorded(text)
    known = [
        *_against_record(line, recorded),
        *_twins(line, recorded),
        *_against_commits(line, ledger or b"", settings or b"", recorded),
        *_against_store(line, recorded, in_store or ()),
        *([_not_fetched()] if text is None and is_plain_clone(line) else []),
    ]
    if not any(doubt.kind in (Kind.DELETED, Kind.MISSING) for doubt in known):
        known += _head(line, recorded)
    return [*known, *_cut(line)]


def require(line: Line, despite: frozenset[Kind] = frozenset()) -> None:
    """Raises StateError, with the remedy, where the tags are not the whole line."""
    for doubt in doubts(line):
        if doubt.stops and doubt.kind not in despite:
            raise StateError(f"{doubt.sentence}; nothing was changed.")


def is_shallow(git: Git) -> bool:
    """Whether the clone lacks the older commits. git keeps a list of where it was cut; asking git costs a process."""
    own = git.root / ".git"
    if own.is_dir():
        cut = own / "shallow"
        return cut.is_file() and cut.stat().st_size > 0
    return git.text("rev-parse", "--is-shallow-repository", check=False) == "true"


def is_plain_clone(line: Line) -> bool:
    """Whether there are seals here, and a remote of which nothing but branches and tags is fetched: 'luna init' was not run."""
    if not line.sealed:
        return False
    rows = line.git.text("config", "--get-regexp", r"^remote\..*\.fetch$", check=False)
    return bool(rows) and _REFERENCES not in rows


def _not_fetched() -> Doubt:
    return Doubt(
        Kind.NO_RECORD,
        "The record of tags is not here, because a plain 'git clone' does not bring it",
        "luna init",
    )


def fetch_remote(git: Git) -> str | None:
    """The git remote to ask for what is missing: the one that seals are pushed to, else origin, else the first."""
    remotes = git.text("remote").splitlines()
    wished = [git.config(PUSH_REMOTE), "origin"]
    return next((name for name in wished if name in remotes), next(iter(remotes), None))


_PAIR = re.compile(rb'"tag":"([^"]*)","object":"([0-9a-f]+)"')


def _recorded(text: bytes | None) -> dict[str, str]:
    """Tag -> object of the record in git, unchecked: a record that was altered is found by its own reader."""
    return {tag.decode(): value.decode() for tag, value in _PAIR.findall(text or b"")}


def _against_record(line: Line, recorded: dict[str, str]) -> Iterable[Doubt]:
    deleted = [tag for tag in recorded if tag not in line.all_tags]
    moved = [
        tag
        for tag, value in recorded.items()
        if tag in line.all_tags and line.all_tags[tag].object != value
    ]
    if deleted:
        yield Doubt(
            Kind.DELETED,
            f"{_some(deleted)} {_is(deleted)} gone from git's tags, and the record holds {_it(deleted)}",
            "luna repair",
            tuple(deleted),
        )
    if moved:
        yield Doubt(
            Kind.MOVED,
            f"{_some(moved)} {_is(moved)} not what the record says: somebody moved {_it(moved)}",
            "luna repair",
            tuple(moved),
        )
    loose = [
        tag.name
        for tag in line.all_tags.values()
        if recorded and tag.annotated and record.is_recorded(tag.name) and tag.name not in recorded
    ]
    if loose and _newest_of(line) & set(loose):
        yield Doubt(
            Kind.HALF,
            f"The seal or rollback that made {_some(loose)} was interrupted, because the record does not have {_it(loose)} yet",
            "luna seal",
            tuple(loose),
        )
    elif loose:
        yield Doubt(
            Kind.UNRECORDED,
            f"{_some(loose)} {_is(loose)} not in the record, so no seal here made {_it(loose)}",
            "luna verify",
            tuple(loose),
        )


def _newest_of(line: Line) -> set[str]:
    """The newest generation's tag, and that of the head's move to it."""
    if not line.sealed:
        return set()
    newest = line.sealed[max(line.sealed)]
    moves = {tag.name for tag in line.assignments.values() if tag.commit == newest.commit}
    return {newest.name} | moves


def _twins(line: Line, recorded: dict[str, str]) -> Iterable[Doubt]:
    """Two lines whose tags were brought into one clone have two tags for each number."""
    by_number: dict[int, list[str]] = {}
    for tag in line.all_tags.values():
        if tag.annotated and _is_ours(line, tag.name):
            by_number.setdefault(GenerationName.parse(tag.name).number, []).append(tag.name)
    for number, tags in by_number.items():
        if len(tags) > 1:
            own = [tag for tag in tags if tag in recorded]
            yield Doubt(
                Kind.TWIN,
                f"There are {len(tags)} tags for generation {number} ({', '.join(tags)})",
                "luna repair" if len(own) == 1 else "luna verify",
                tuple(tags),
            )


def _against_commits(
    line: Line, ledger: bytes, settings: bytes, recorded: dict[str, str]
) -> Iterable[Doubt]:
    """Seals whose commits are in the history of what is checked out, and that no tag names.

    The whole history is walked only where ledger or parameters name a generation that has no tag. A row or a
    name alone is not a seal: somebody may have committed the results of a build.
    """
    rows = {int(number) for number in re.findall(rb"^(\d{1,9}),", ledger, re.MULTILINE)}
    named = {
        name.decode()
        for name in re.findall(re.escape(line.prefix.encode()) + rb"-G\d{3,}-\d{8}-\d{6}", settings)
    }
    if rows <= set(line.sealed) and named <= set(line.all_tags):
        return
    seal = re.compile(rf"([0-9a-f]+) ({re.escape(line.prefix)}-G\S+): (?:promoted|denied)")
    commits = {
        match[2]: match[1]
        for row in line.git.text("log", "--format=%H %s", "HEAD").splitlines()
        if (match := seal.fullmatch(row)) and _is_ours(line, match[2])
    }
    missing = sorted(name for name in commits if name not in line.all_tags | recorded)
    if missing:
        remote = fetch_remote(line.git)
        yield Doubt(
            Kind.MISSING,
            f"{_some(missing)} {_is(missing)} sealed in this history, but the {'tags are' if len(missing) > 1 else 'tag is'} not here",
            f"git fetch --tags {remote}" if remote else "luna repair",
            tuple(missing),
            tuple(commits[name] for name in missing),
        )


def _head(line: Line, recorded: dict[str, str]) -> Iterable[Doubt]:
    """The head is where its last move put it; a move that is not recorded yet may be half made."""
    moves = {count: tag for count, tag in line.assignments.items() if tag.annotated}
    if not moves:
        return
    # Without a record an interrupted move looks like one that somebody undid.
    sure = [count for count in moves if not recorded or moves[count].name in recorded]
    sure = sure if recorded else sorted(sure)[:-1]
    right = {moves[count].commit for count in (max(sure, default=max(moves)), max(moves))}
    if not sure and line.head is None:
        return
    if line.head is None or line.head.commit not in right:
        last = _generation_at(line, moves[max(sure or moves)])
        yield Doubt(
            Kind.HEAD,
            f"{names.head_tag(line.prefix)} {'is missing' if line.head is None else f'is at {_generation_at(line, line.head)}'}, and its last recorded move was to {last}",
            "luna repair",
            (names.head_tag(line.prefix),),
        )


def _against_store(
    line: Line, recorded: dict[str, str], in_store: Sequence[record.Entry]
) -> Iterable[Doubt]:
    more = [
        entry.tag
        for entry in in_store
        if entry.tag not in recorded and entry.tag not in line.all_tags
    ]
    if more:
        remote = fetch_remote(line.git)
        yield Doubt(
            Kind.STORE_AHEAD,
            f"Cold storage holds {_some(more)}, which this clone does not know",
            f"git fetch {remote}" if remote else "luna repair",
            tuple(more),
        )


def _cut(line: Line) -> Iterable[Doubt]:
    """A rollback whose head move was made, and whose checkout was not finished."""
    note = checkout.unfinished(line.git)
    if note and note.move in line.assignments:
        yield Doubt(
            Kind.CUT,
            f"The rollback to {note.generation} was interrupted, and files of two generations may be mixed",
            note.command,
            (note.generation,),
        )


def _generation_at(line: Line, tag: Tag) -> str:
    return next(
        (item.name for item in line.sealed.values() if item.commit == tag.commit),
        f"commit {tag.commit[:12]}",
    )


def _is_ours(line: Line, name: str) -> bool:
    return names.is_generation(name) and name.startswith(f"{line.prefix}-G")


def _some(tags: Sequence[str]) -> str:
    return tags[0] if len(tags) == 1 else f"{tags[0]} and {len(tags) - 1} more"


def _is(tags: Sequence[str]) -> str:
    return "is" if len(tags) == 1 else "are"


def _it(tags: Sequence[str]) -> str:
    return "it" if len(tags) == 1 else "them"
