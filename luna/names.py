"""The names of generations, tags and moves of the head: written and parsed here alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from luna.errors import InputError

HEAD_ALIASES = ("HEAD", "GHEAD")
BASE_PARENT = "base"
ARTIFACT = "luna"  # the artifact's name in dvc.yaml, hence in GTO's tags
STAGE = "head"
_STAMP = "%Y%m%d-%H%M%S"
SNAPSHOTS = (
    "snapshot/"  # tags of folders that are kept beside the generations; the hooks know it, too
)
_SNAPSHOT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_NAME = re.compile(r"(?P<prefix>[A-Za-z][A-Za-z0-9_]*)-G(?P<number>\d{3,})-(?P<stamp>\d{8}-\d{6})")
_SHORT = re.compile(r"[Gg]?(\d+)")
_VERSION = re.compile(rf"{ARTIFACT}@v(\d+)\.0\.0")
_ASSIGNMENT = re.compile(rf"{ARTIFACT}#{STAGE}#(\d+)")


@dataclass(frozen=True, order=True)
class GenerationName:
    """``Luna-G012-20251022-231530``: prefix, number, birth in UTC to the second. Sorts by number."""

    number: int
    stamp: str
    prefix: str

    @classmethod
    def born(cls, number: int, prefix: str, when: datetime | None = None) -> GenerationName:
        """The name of a generation that begins now, or at ``when``."""
        when = when or datetime.now(UTC)
        return cls(number, when.astimezone(UTC).strftime(_STAMP), prefix)

    @classmethod
    def parse(cls, text: str) -> GenerationName:
        """Raises InputError when ``text`` is not a full generation name."""
        match = _NAME.fullmatch(text)
        if match:
            try:
                datetime.strptime(match["stamp"], _STAMP)
            except ValueError:
                match = None
        if not match:
            raise InputError(
                f"'{text}' is not a generation's name: it is written like Luna-G012-20251022-231530."
            )
        return cls(int(match["number"]), match["stamp"], match["prefix"])

    def __str__(self) -> str:
        return f"{self.prefix}-G{self.number:03d}-{self.stamp}"

    @property
    def short(self) -> str:
        """The short name, G003."""
        return f"G{self.number:03d}"

    @property
    def timestamp(self) -> str:
        """Birth as ISO 8601 with the zone, e.g. ``2025-10-22T23:15:30Z``."""
        return datetime.strptime(self.stamp, _STAMP).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_generation(text: str) -> bool:
    """Whether the text is a generation's full name."""
    return _NAME.fullmatch(text) is not None


def head_tag(prefix: str) -> str:
    """The tag that points at the current best."""
    return f"{prefix}-GHEAD"


def is_head(reference: str) -> bool:
    """Whether the reference means the current best."""
    return reference.upper() in HEAD_ALIASES or reference.endswith("-GHEAD")


def number_of(reference: str) -> int | None:
    """The number in ``3``, ``G003`` or a full name; None for anything else."""
    if match := _NAME.fullmatch(reference):
        return int(match["number"])
    match = _SHORT.fullmatch(reference)
    return int(match[1]) if match else None


def is_snapshot(tag: str) -> bool:
    """Whether the tag is a snapshot's."""
    return tag.startswith(SNAPSHOTS)


def snapshot_tag(name: str) -> str:
    """The tag of the snapshot ``name``. Raises InputError for a name that git or a reader could take for something else."""
    name = name.removeprefix(SNAPSHOTS)
    if (
        not _SNAPSHOT.fullmatch(name)
        or ".." in name
        or name.endswith(".lock")
        or re.search(r"-G(\d|HEAD)", name, re.IGNORECASE)
    ):
        raise InputError(
            f"'{name}' cannot be a snapshot's name: use letters, digits and . _ - (at most 100, not like a generation's name), for example before-the-move."
        )
    return SNAPSHOTS + name


def version_tag(number: int) -> str:
    """GTO's tag that registers a generation as a version (https://dvc.org/doc/gto/user-guide)."""
    return f"{ARTIFACT}@v{number}.0.0"


def version_number(tag: str) -> int | None:
    """The number of a version tag; None for another tag."""
    match = _VERSION.fullmatch(tag)
    return int(match[1]) if match else None


def is_version(tag: str) -> bool:
    """Whether the tag is a version tag."""
    return _VERSION.fullmatch(tag) is not None


def assignment_tag(count: int) -> str:
    """GTO's tag of the ``count``-th move of the head, counted from 1."""
    return f"{ARTIFACT}#{STAGE}#{count}"


def assignment_number(tag: str) -> int | None:
    """The number of a tag that records a move of the head; None for another tag."""
    match = _ASSIGNMENT.fullmatch(tag)
    return int(match[1]) if match else None
