"""Names what is left out of the data that a user gave, so that nothing is skipped in silence."""

from __future__ import annotations

from pathlib import Path

from luna import artifacts
from luna.conversations import batches, folder
from luna.conversations.batches import Waiting
from luna.conversations.folder import Kind
from luna.params import Params
from luna.text import escaped


def overlooked(root: Path, settings: Params, waiting: Waiting) -> list[str]:
    """A sentence for each folder's ignored files, and one for each key that conversations waiting to be learnt have and Luna does not know."""
    sentences = []
    for relative, entries in (
        (artifacts.CONVERSATIONS, batches.entries(root / artifacts.CONVERSATIONS, settings.data)),
        (artifacts.INBOX, folder.entries(root / artifacts.INBOX)),
        (artifacts.CURATED_PROBES, folder.entries(root / artifacts.CURATED_PROBES)),
    ):
        names = [
            escaped(entry.path.relative_to(root / relative).as_posix())
            for entry in entries
            if entry.kind is Kind.IGNORED and entry.path.name not in _EXPECTED
        ]
        if names:
            sentences.append(f"ignored in {relative.as_posix()}: {', '.join(names)}")
    counts: dict[str, int] = {}
    for item in [*waiting.next, *waiting.later]:
        for key in item.ignored:
            counts[key] = counts.get(key, 0) + 1
    for key, count in sorted(counts.items()):
        noun = "conversation" if count == 1 else "conversations"
        sentences.append(f"ignored in {count} {noun}: the key '{escaped(key)}'")
    return sentences


#: What everybody knows not to be learnt, and what this repository itself puts there.
_EXPECTED = {"README.md", ".gitkeep"}
