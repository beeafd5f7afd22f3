"""Reads tags and both records, so that damage in one of them does not hide the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from luna import names
from luna.audit import gitstore
from luna.errors import InputError
from luna.history import record
from luna.history.line import parent_named
from luna.names import GenerationName
from luna.repo.git import Git, Reader
from luna.repo.tag import TagBody


@dataclass(frozen=True)
class Seal:
    """A sealed generation. ``body`` is its tag object's content."""

    name: str
    object: str
    commit: str
    body: str

    @cached_property
    def number(self) -> int:
        """The generation's number."""
        return GenerationName.parse(self.name).number

    @cached_property
    def parsed(self) -> TagBody:
        """The tag object's content, read."""
        return TagBody.of(self.body)

    @cached_property
    def fields(self) -> dict[str, str]:
        """The fields of the tag's message, by name."""
        return self.parsed.fields

    @property
    def tagger(self) -> str:
        """Name and address of whoever sealed it."""
        return self.parsed.who


@dataclass(frozen=True)
class RecordState:
    """What git's own record is like: ``error`` says why it cannot be read; ``missing``: there is none."""

    error: str | None = None
    missing: bool = False

    @property
    def whole(self) -> bool:
        """Whether it can be read and follows from its beginning."""
        return self.error is None and not self.missing


WHOLE, MISSING = RecordState(), RecordState(missing=True)


@dataclass(frozen=True)
class Picture:
    """References by full name; the record's entries; sealed generations by number, the record's word before the tag's.

    ``bodies``: tag objects by id; ``light``: what tags name that is no tag object.
    """

    git: Git
    prefix: str
    references: dict[str, str]
    broken: tuple[str, ...]
    bodies: dict[str, str]
    entries: list[record.Entry]
    record: RecordState
    seals: dict[int, Seal]
    unreadable: set[str] = field(default_factory=set)
    light: set[str] = field(default_factory=set)

    @cached_property
    def tags(self) -> dict[str, str]:
        """Object id of every tag, by the tag's name."""
        return {
            name.removeprefix("refs/tags/"): value
            for name, value in self.references.items()
            if name.startswith("refs/tags/")
        }

    @property
    def newest(self) -> Seal | None:
        """The seal with the highest number; None where nothing is sealed."""
        return self.seals[max(self.seals)] if self.seals else None

    @cached_property
    def parents(self) -> dict[int, int | str]:
        """Parent of each generation, by what the seals say."""
        return {
            number: parent
            for number, seal in self.seals.items()
            if (parent := parent_named(seal.fields, number)) is not None
        }

    @cached_property
    def _reader(self) -> Reader:
        return self.git.reader()

    def typed(self, spec: str) -> tuple[str, bytes] | None:
        """Kind and content of a git object; None where it cannot be read."""
        return self._reader.typed(spec)

    def read(self, specs: Iterable[str]) -> list[bytes | None]:
        """As Git.cat, but one unreadable object costs only itself."""
        return [self._reader(spec) for spec in specs]


def references(git: Git) -> tuple[dict[str, str], tuple[str, ...]]:
    """References that git can read, and the names of those that it calls broken. Where git gives up, what the files say."""
    code, text, complaints = git.attempt("for-each-ref", "--format=%(refname) %(objectname)")
    broken = tuple(re.findall(r"ignoring (?:broken|dangling) (?:ref|symref) (\S+)", complaints))
    if code == 0:
        return dict(row.split(" ") for row in text.splitlines()), broken
    values = {name: value for name, (value, _) in gitstore.packed_refs(git)[0].items()}
    top = git.common_dir
    for path in sorted((top / "refs").rglob("*")):
        if path.is_file() and re.fullmatch(
            "[0-9a-f]{40}\n?", text := path.read_text(encoding="utf-8", errors="replace")
        ):
            values[path.relative_to(top).as_posix()] = text.strip()
    return values, broken


def take(
    git: Git, prefix: str, bad: set[str], cold_entries: list[record.Entry] | None = None
) -> Picture:
    """``bad``: git objects known to be unreadable. ``cold_entries``: the record of cold storage, trusted where git's is not readable."""
    values, broken = references(git)
    blank = Picture(git, prefix, values, broken, {}, [], WHOLE, {}, bad)
    state = WHOLE
    entries: list[record.Entry] = []
    [text] = blank.read([f"{record.REF}:{record.FILE}"]) if record.REF in values else [None]
    if text is None:
        gone = record.REF not in values and record.REF not in broken
        state = MISSING if gone else RecordState("it cannot be read")
    else:
        try:
            entries = record.loads(text.decode("utf-8", "replace"))
        except InputError as problem:
            state = RecordState(str(problem))
    trusted = entries or cold_entries or []
    bodies, light = {}, set()
    for name, value in values.items():
        if name.startswith("refs/tags/") and value not in bad:
            kind, body = blank.typed(value) or ("", b"")
            if kind == "tag" and record.object_id_of(body) == value:
                bodies[value] = body.decode("utf-8", "surrogateescape")
            elif kind and kind != "tag":
                light.add(value)
    seals = {}
    for name, value in (
        (name.removeprefix("refs/tags/"), value)
        for name, value in values.items()
        if name.startswith("refs/tags/")
    ):
        if _is_generation(name, prefix) and value in bodies:
            seal = Seal(name, value, TagBody.of(bodies[value]).object, bodies[value])
            seals[seal.number] = seal
    for entry in trusted:
        if _is_generation(entry.tag, prefix):
            seal = Seal(entry.tag, entry.object, entry.commit, entry.body)
            seals[seal.number] = seal
    return Picture(
        git, prefix, values, broken, bodies, trusted, state, dict(sorted(seals.items())), bad, light
    )


def _is_generation(name: str, prefix: str) -> bool:
    if not name.startswith(f"{prefix}-G"):
        return False
    try:
        GenerationName.parse(name)
    except InputError:
        return False
    return names.is_generation(name)


def object_names(picture: Picture) -> dict[str, str]:
    """What git objects are, for a reader: the generation whose tag, commit or file they are; the oldest that has them."""
    names_by_id: dict[str, str] = {}
    for entry in picture.entries:
        names_by_id.setdefault(entry.object, f"tag {entry.tag}")
        if names.is_generation(entry.tag) or names.is_snapshot(entry.tag):
            names_by_id.setdefault(entry.commit, f"commit of {entry.tag}")
    for tag, value in picture.tags.items():
        names_by_id.setdefault(value, f"tag {tag}")
    for seal in picture.seals.values():
        names_by_id.setdefault(seal.commit, f"commit of {seal.name}")
        [commit] = picture.read([seal.commit])
        if commit and commit.startswith(b"tree "):
            names_by_id.setdefault(commit[5:45].decode("ascii", "replace"), f"files of {seal.name}")
        listed = picture.git.text("ls-tree", "-r", "-t", "--full-tree", seal.commit, check=False)
        for row in listed.splitlines():
            head, _, path = row.partition("\t")
            names_by_id.setdefault(head.split(" ")[2], f"{path} of {seal.name}")
    return names_by_id
