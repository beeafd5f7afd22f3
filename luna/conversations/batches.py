"""Which of the waiting conversations the next generation learns: all of them, so many, or a folder's.

By folder, each sub-folder of data/conversations is a batch, in the order of their names; a folder
whose conversations are all learnt is passed over. Files beside the folders (the inbox's, above all) go
with whichever batch is next. What is next depends on the files and on what the head's line was taught, and
on nothing else: after a denial it is the same again.

It is asked once, by 'luna new', which records the answer for the build (luna/history/build.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts
from luna.conversations import choose, schema
from luna.conversations.schema import Conversation
from luna.params import Data

_BESIDE = ""  # the files that lie in no folder


@dataclass(frozen=True)
class Waiting:
    """``next`` is the coming generation's delta, ``later`` what waits for another one, each in the order of identities.

    ``folder`` is the name of the folder that is next; None where there is none.
    """

    next: list[Conversation]
    later: list[Conversation]
    folder: str | None


def folders(place: Path) -> list[Path]:
    """The sub-folders that hold conversations, by name; hidden ones are none."""
    found = (
        [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if place.is_dir()
        else []
    )
    return sorted(path for path in found if any(path.rglob("*.jsonl")))


def _batches(place: Path, settings: Data) -> dict[str, list[Conversation]]:
    found = {_BESIDE: schema.load_folder(place)}
    if settings.batches == "folder":
        found |= {path.name: schema.load_folder(path, "**/*.jsonl") for path in folders(place)}
    return found


def _distinct(batches: dict[str, list[Conversation]]) -> list[Conversation]:
    return schema.distinct(item for items in batches.values() for item in items)


def read(place: Path, settings: Data) -> list[Conversation]:
    """All conversations, each once, in the order of identities. Raises InputError for one that is not valid, naming file and line."""
    return _distinct(_batches(place, settings))


def remove_old_list(root: Path) -> None:
    """The batch of a renumbered generation, as earlier versions listed it; now it is in models/build.json."""
    (root / artifacts.CONVERSATIONS / "batch.txt").unlink(missing_ok=True)


def waiting(
    place: Path,
    settings: Data,
    seen: set[str],
    arriving: Iterable[Conversation] = (),
) -> Waiting:
    """What no ancestor has seen, divided. ``arriving`` conversations will lie beside the folders.

    Raises InputError for a conversation that is not valid, naming file and line.
    """
    batches = _batches(place, settings)
    batches[_BESIDE] += arriving
    new = choose.delta(_distinct(batches), seen)
    open_ones = {item.identity for item in new}
    folder = next(
        (
            name
            for name, items in batches.items()
            if name != _BESIDE and any(item.identity in open_ones for item in items)
        ),
        None,
    )
    allowed = {
        item.identity for name in {_BESIDE, folder} & batches.keys() for item in batches[name]
    }
    coming = [item for item in new if item.identity in allowed][: settings.batch_size or None]
    taken = {item.identity for item in coming}
    return Waiting(coming, [item for item in new if item.identity not in taken], folder)
