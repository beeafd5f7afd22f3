"""models/build.json: what `luna new` decided for the generation that is being built.

Its number, its parent and all ancestors by their commits, the ledger that it is a row more of, and the
conversations and written probes that it is made of, by identity. The stages read these here and nowhere else: what
arrives in data/conversations meanwhile waits, and an edited params.yaml or lineage.csv changes nothing. It is sealed with the
generation, and since it names commits, not tags, DVC's temporary clones, which have no tags, build by it too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

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


def read(root: Path) -> Build | None:
    """None where no build was recorded. Raises InputError for a file that is not one."""
    path = root / artifacts.BUILD
    if not path.is_file():
        return None
    try:
        document = files.read_json(path)
        document["ancestors"] = tuple(Ancestor(**item) for item in document["ancestors"])
        for key in ("conversations", "probes"):
            document[key] = tuple(document[key])
        return Build(**document)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{artifacts.BUILD} was changed after 'luna new' wrote it: put it back ('git restore {artifacts.BUILD}'), or {_AGAIN}."
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
