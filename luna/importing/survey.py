"""What to know of conversations before they are learnt: languages, lengths, secrets."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna.conversations import lengths
from luna.conversations.lengths import Lengths
from luna.conversations.schema import Conversation
from luna.importing import languages, near
from luna.importing.leaks import Leaks, perhaps

_SAMPLE = 2_000  # conversations whose language is looked at
_SAMPLE_CHARACTERS = 500  # of each
_EXAMPLES = 3


@dataclass(frozen=True)
class Secrets:
    """``kinds``: conversations by the kind of likely secret; ``where``: the first of them; ``complete``: all were looked at."""

    kinds: dict[str, int]
    where: list[str]
    complete: bool


@dataclass(frozen=True)
class Survey:
    """``languages`` of ``languages_sample`` conversations; ``several_answers``: questions with more than one answer."""

    languages: dict[str, int]
    languages_sample: int
    tokens: Lengths
    near_duplicates: int
    several_answers: int
    secrets: Secrets
    examples: list[dict[str, Any]]


class Surveyor:
    """Conversations as they come; memory grows with their number and not with their length.

    The sample is of those with the smallest identities: as good as drawn by lot, and the same every time.
    """

    def __init__(self, root: Path, window: int) -> None:
        self._tokens = lengths.Counter(root, window)
        self._near = near.NearDuplicates()
        self._leaks = Leaks()
        self._answers: dict[bytes, bytes | None] = {}
        self._several = 0
        self._sample: list[tuple[int, str]] = []
        self._examples: list[tuple[int, dict[str, Any]]] = []

    def add(self, conversation: Conversation, where: str) -> None:
        """One more; ``where`` it stands, for a person."""
        texts = [text for _, text in conversation.messages]
        self._tokens.add(conversation.messages)
        plain = [near.plain(text) for text in texts]
        self._near.add(" ".join(plain))
        self._leaks.add(texts, where)
        self._compare(conversation, plain)
        order = -int(
            conversation.identity[:15], 16
        )  # the greatest goes first out of a heap of the negative
        spoken = "\n".join(text for role, text in conversation.messages if role != "system")
        _keep(self._sample, (order, spoken[:_SAMPLE_CHARACTERS]), _SAMPLE)
        wanted = len(self._examples) < _EXAMPLES or order > self._examples[0][0]
        if wanted and not any(map(perhaps, texts)):  # examples are printed, secrets are not
            _keep(self._examples, (order, conversation.as_row()), _EXAMPLES)

    def survey(self) -> Survey:
        """Of all that was added."""
        self._leaks.finish()
        counted = languages.counted(text for _, text in sorted(self._sample))
        return Survey(
            counted,
            len(self._sample),
            self._tokens.lengths(),
            self._near.count,
            self._several,
            Secrets(dict(self._leaks.kinds.most_common()), self._leaks.where, self._leaks.complete),
            [row for _, row in sorted(self._examples, key=lambda item: -item[0])],
        )

    def _compare(self, conversation: Conversation, plain: list[str]) -> None:
        """Note the answer to the question; None stands for several."""
        asked = len(conversation.question)
        question, answer = _digest("\n".join(plain[:asked])), _digest(plain[asked])
        known = self._answers.setdefault(question, answer)
        if known is not None and known != answer:
            self._answers[question] = None
            self._several += 1


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _keep(heap: list[Any], item: tuple[int, Any], most: int) -> None:
    """Keep the ``most`` items with the greatest first value."""
    if len(heap) < most:
        heapq.heappush(heap, item)
    elif item[0] > heap[0][0]:
        heapq.heapreplace(heap, item)
