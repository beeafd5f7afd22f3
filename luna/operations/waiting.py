"""`luna status --waiting`: each conversation that waits to be learnt, and what would become of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, params
from luna.conversations import inbox, probes
from luna.conversations.lengths import Counter, Lengths
from luna.history.line import read_line
from luna.operations import foreseen, new


@dataclass(frozen=True)
class Waits:
    """A conversation. ``next``: the next generation takes it; ``inbox``: it lies there in a file of its own, and can be taken back."""

    identity: str
    question: str
    reply: str
    tokens: int
    karma: float
    next: bool
    inbox: bool


@dataclass(frozen=True)
class Outlook:
    """What waits, its ``tokens`` together, and sentences on what the next generation would leave out, cut or lack."""

    conversations: list[Waits]
    tokens: Lengths
    foreseen: list[str]


def outlook(root: Path) -> Outlook:
    """Read what waits; nothing is changed. Raises InputError for a malformed conversation, naming file and line."""
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    batch = new.waiting(root, line)
    window = settings.train.max_seq_length
    alone = {path.stem for path in (root / artifacts.INBOX).glob("*.jsonl")}
    items = [*((one, True) for one in batch.next), *((one, False) for one in batch.later)]
    counter = Counter(root, window)
    for item, _ in items:
        counter.add(item.messages)
    written = probes.curated(root / artifacts.CURATED_PROBES)
    return Outlook(
        [
            Waits(
                item.identity,
                item.question[-1][1],
                item.reply,
                tokens,
                item.karma,
                is_next,
                item.identity in alone,
            )
            for (item, is_next), tokens in zip(items, counter.each(), strict=True)
        ],
        counter.lengths(),
        foreseen.sentences(root, line, settings, batch, written),
    )


def take_back(root: Path, identity: str) -> None:
    """Remove a conversation that 'luna chat' or the studio kept. Raises StateError where it does not wait any more."""
    inbox.take_back(inbox.path_of(root, identity))
