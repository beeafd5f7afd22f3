"""Which of the waiting conversations the next generation learns: all, a number, or a folder.

By folder, each sub-folder of data/conversations is a batch, in the order of their names; a folder
whose conversations are all learnt is skipped. Files beside the folders (the inbox's, above all) go
with whichever batch is next. What is next depends on the files and on what the head's line was taught, and
on nothing else: after a denial it is the same again.

It is asked once, by 'luna new', which records the answer for the build (luna/history/build.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts
from luna.conversations import choose, folder, schema
from luna.conversations.folder import FolderEntry
from luna.conversations.schema import Conversation
from luna.params import Data

_BESIDE = ""  # the files outside of all folders


@dataclass(frozen=True)
class Waiting:
    """``next`` is the coming generation's delta, ``later`` what waits for another one, each in the order of identities.

    ``folder`` is the name of the folder that is next; None where there is none.
    """

    next: list[Conversation]
    later: list[Conversation]
    folder: str | None


#: What to do with a folder that is not read.
UNREAD = "set data.batches: folder in params.yaml, or move its files up"


def entries(conversations: Path, settings: Data) -> list[FolderEntry]:
    """Every entry of data/conversations: read, ignored or refused."""
    return folder.entries(conversations, settings.batches == "folder", UNREAD)


def _batches(conversations: Path, settings: Data) -> dict[str, list[Conversation]]:
    """Conversations by the name of their folder; those beside the folders come first."""
    batches: dict[str, list[Conversation]] = {_BESIDE: []}
    for path, items in folder.contents(conversations, settings.batches == "folder", UNREAD):
        parts = path.relative_to(conversations).parts
        batches.setdefault(parts[0] if len(parts) > 1 else _BESIDE, []).extend(items)
    return batches


def _distinct(batches: dict[str, list[Conversation]]) -> list[Conversation]:
    return schema.distinct(item for items in batches.values() for item in items)


def read(conversations: Path, settings: Data) -> list[Conversation]:
    """All conversations, each once, in the order of identities. Raises InputError for one that is not valid, naming file and line."""
    return _distinct(_batches(conversations, settings))


def remove_old_list(root: Path) -> None:
    """The batch of a renumbered generation, as earlier versions listed it; now it is in models/build.json."""
    (root / artifacts.CONVERSATIONS / "batch.txt").unlink(missing_ok=True)


def waiting(
    conversations: Path,
    settings: Data,
    seen: set[str],
    arriving: Iterable[Conversation] = (),
) -> Waiting:
    """What no ancestor has seen, divided. ``arriving`` conversations will lie beside the folders.

    Raises InputError for a conversation that is not valid, naming file and line.
    """
    batches = _batches(conversations, settings)
    batches[_BESIDE] += arriving
    new = choose.delta(_distinct(batches), seen)
    open_ones = {item.identity for item in new}
    coming_folder = next(
        (
            name
            for name, items in batches.items()
            if name != _BESIDE and any(item.identity in open_ones for item in items)
        ),
        None,
    )
    allowed = {
        item.identity
        for name, items in batches.items()
        if name in (_BESIDE, coming_folder)
        for item in items
    }
    coming = [item for item in new if item.identity in allowed][: settings.batch_size or None]
    taken = {item.identity for item in coming}
    return Waiting(coming, [item for item in new if item.identity not in taken], coming_folder)
