"""models/build.json: what `luna new` decided for the generation that is being built.

Its number, its parent and all ancestors by their commits, the ledger that it is a row more of, and the
conversations and written probes that it is made of, by identity. The stages read these here and nowhere else: what
arrives in data/conversations meanwhile waits, and an edited params.yaml or lineage.csv changes nothing. It is sealed with the
generation, and since it names commits, not tags, DVC's temporary clones, which have no tags, build by it too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from luna import artifacts, files, ledger
from luna.errors import InputError, StateError
from luna.history.line import Line
from luna.names import BASE_PARENT
from luna.params import Params
from luna.repo.git import Git

_AGAIN = "start it again with 'luna new --replace'"


@dataclass(frozen=True)
class Ancestor:
    """A generation on the line to the parent, and the commit that seals it."""

    name: str
    commit: str


class MergeRule(IntEnum):
    """How the adapters of a line become 16-bit weights; the number is sealed with each generation."""

    EACH = 1  # W = bfloat16(W_parent + s * B A): rounded after every adapter. A seal that names no rule has this one.
    ONCE = 2  # W = bfloat16(W_keyframe + the sum of s * B A of all adapters since)


@dataclass(frozen=True)
class Keyframe:
    """A generation whose weights are the fixed point that adapters are added to, and what these weights are made of.

    By ``rule``, of the keyframe before it (``before``; None: the base) and the ``adapters`` since, oldest first.
    """

    name: str
    commit: str
    rule: MergeRule
    before: str | None
    adapters: tuple[Ancestor, ...]


@dataclass(frozen=True)
class Build:
    """``parent`` is a name or ``base``; ``ancestors`` go from generation 0 to the parent.

    ``head_move``: how many times the head had moved when the build was begun. ``ledger``: the git object of the sealed
    ledger, None before generation 0. ``conversations`` are what is learnt, by generation 0 only asked; ``probes`` those that a
    person wrote. ``karma_left`` is what waits beside them, ``folder`` where they lie when folders are batches. ``renumbered``: it
    was begun under another number.
    """

    name: str
    parent: str
    head_move: int
    ancestors: tuple[Ancestor, ...]
    ledger: str | None
    conversations: tuple[str, ...]
    probes: tuple[str, ...]
    karma_left: float
    folder: str | None
    renumbered: bool = False
    merge_rule: MergeRule = MergeRule.EACH
    keyframe: Keyframe | None = None

    @property
    def summed(self) -> tuple[Ancestor, ...]:
        """The ancestors whose adapters are added to the fixed point, oldest first. Generation 0 has none."""
        names = [one.name for one in self.ancestors]
        return self.ancestors[names.index(self.keyframe.name) + 1 if self.keyframe else 1 :]


def read(root: Path) -> Build | None:
    """None where no build was recorded. Raises InputError for a file that is not one."""
    path = root / artifacts.BUILD
    if not path.is_file():
        return None
    try:
        return _parse(files.read_json(path))
    except _MALFORMED:
        raise InputError(
            f"{artifacts.BUILD} was changed after 'luna new' wrote it: put it back ('git restore {artifacts.BUILD}'), or {_AGAIN}."
        ) from None


_MALFORMED = (ValueError, TypeError, KeyError, AttributeError)


def _parse(document: dict[str, Any]) -> Build:
    document["ancestors"] = tuple(Ancestor(**item) for item in document["ancestors"])
    for key in ("conversations", "probes"):
        document[key] = tuple(document[key])
    document["merge_rule"] = MergeRule(document.get("merge_rule", MergeRule.EACH))
    document["keyframe"] = keyframe_of(document.get("keyframe"))
    build = Build(**document)
    _ = build.summed  # raises ValueError where the keyframe is none of the ancestors
    return build


def keyframe_of(document: dict[str, Any] | None) -> Keyframe | None:
    """As ``asdict`` wrote it."""
    if document is None:
        return None
    given = dict(document)
    adapters = tuple(Ancestor(**item) for item in given.pop("adapters"))
    return Keyframe(rule=MergeRule(given.pop("rule")), adapters=adapters, **given)


def sealed(git: Git, name: str) -> Build | None:
    """The record that was sealed with a generation; None for one that was begun before there were such records.

    Raises StateError where it cannot be read.
    """
    [text] = git.cat([f"refs/tags/{name}:{artifacts.BUILD.as_posix()}"])
    if text is None:
        return None
    try:
        return _parse(json.loads(text))
    except _MALFORMED:
        raise StateError(
            f"{artifacts.BUILD} of {name} cannot be read, so it is not known what its weights are made of: run 'luna verify'."
        ) from None


def write(root: Path, build: Build) -> None:
    """Write the record of the build that was begun."""
    files.write_json(root / artifacts.BUILD, asdict(build))


def require_same(settings: Params, build: Build) -> None:
    """Raises InputError where params.yaml names another generation or parent than 'luna new' recorded."""
    now = settings.generation
    if (now.name, now.parent) != (build.name, build.parent):
        raise InputError(
            f"params.yaml names {now.name} with parent {now.parent}, but 'luna new' started {build.name} with parent {build.parent}: "
            f"set generation.name and generation.parent back to these, or {_AGAIN}; nothing was changed."
        )


def of_stage(root: Path, settings: Params) -> Build:
    """The build that a stage works on. Raises InputError where none was begun, or params.yaml names another."""
    build = read(root)
    if build is None:
        raise InputError(
            f"{artifacts.BUILD} is missing, so it is unknown what {settings.generation.name} is built from: {_AGAIN}."
        )
    require_same(settings, build)
    return build


def past_ledger(root: Path, build: Build) -> str:
    """The sealed ledger that the generation adds its row to. Raises StateError where git does not have it."""
    if build.ledger is None:
        return ledger.HEADER
    [text] = Git(root).cat([build.ledger])
    if text is None:
        raise StateError(
            f"git does not have the ledger that {build.name} adds its row to ({build.ledger[:12]}): run 'luna verify'; or {_AGAIN}."
        )
    return text.decode("utf-8")


def ancestors(line: Line, parent: str) -> tuple[Ancestor, ...]:
    """From generation 0 to ``parent``; none for ``base``. Raises StateError where one is not sealed here."""
    if parent == BASE_PARENT:
        return ()
    by_name = {tag.name: tag.commit for tag in line.sealed.values()}
    return tuple(Ancestor(name, by_name[name]) for name in line.ancestors(parent))
