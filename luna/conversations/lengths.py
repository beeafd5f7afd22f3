"""How long conversations are in tokens: by the base's tokenizer where there is one, else estimated."""

from __future__ import annotations

import statistics
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts, files
from luna.conversations.template import Messages

_TURN = 5  # tokens of the chat template around a message, as in ChatML
_EXACT_CHARACTERS = (
    30_000_000  # counted by the tokenizer; beyond, what it gave so far is the measure
)
_LETTERS_PER_TOKEN = 4.0  # of English, in most vocabularies (Sennrich et al. 2016 and after)
_BATCH = 256


@dataclass(frozen=True)
class Lengths:
    """In tokens. ``exact``: all of them were counted by the base's tokenizer.

    ``beyond``: conversations longer than ``window``, which are learnt in several; ``too_long``: replies that fit in none
    with their question; ``window_needed``: the window in which all of them would fit; ``readable``: the window that the
    base was made for, None where that is not known yet.
    """

    exact: bool
    window: int
    median: int
    longest: int
    beyond: int
    too_long: int
    window_needed: int
    readable: int | None = None

    @property
    def fit_none(self) -> bool:
        """Whether some reply fits in no window that the base can read."""
        return self.readable is not None and self.window_needed > self.readable


class Counter:
    """Conversations as they come. ``root``: the repository whose base counts."""

    def __init__(self, root: Path, window: int) -> None:
        self._window = window
        self._tokenizer = _tokenizer(root / artifacts.BASE / "tokenizer.json")
        self._readable = _readable(root / artifacts.BASE / "config.json")
        self._counts = array("q")
        self._waiting: list[Messages] = []
        self._too_long = self._needed = 0
        self._characters = 0
        self._tokens = 0
        self.exact = self._tokenizer is not None

    def add(self, messages: Messages) -> None:
        """One conversation."""
        self._waiting.append(messages)
        if len(self._waiting) >= _BATCH:
            self._count()

    def each(self) -> list[int]:
        """Of each conversation, in the order in which they were added."""
        self._count()
        return list(self._counts)

    def lengths(self) -> Lengths:
        """Of all that was added."""
        self._count()
        return Lengths(
            self.exact,
            self._window,
            round(statistics.median(self._counts)) if self._counts else 0,
            max(self._counts, default=0),
            sum(count > self._window for count in self._counts),
            self._too_long,
            self._needed,
            self._readable,
        )

    def _count(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._tokenizer is None or self._characters > _EXACT_CHARACTERS:
            self.exact = self.exact and not waiting
            for messages in waiting:
                self._note(messages, [self._estimated(text) for _, text in messages])
            return
        flat = [text for messages in waiting for _, text in messages]
        sizes = iter(
            len(encoding.ids)
            for encoding in self._tokenizer.encode_batch(flat, add_special_tokens=False)
        )
        for messages in waiting:
            own = [next(sizes) for _ in messages]
            self._tokens += sum(own)
            self._characters += sum(len(text) for _, text in messages)
            self._note(messages, [size + _TURN for size in own])

    def _note(self, messages: Messages, sizes: list[int]) -> None:
        self._counts.append(sum(sizes))
        system = sizes[0] if messages[0][0] == "system" else 0
        for at, (role, _) in enumerate(messages):
            if role == "assistant" and at:
                least = system + sizes[at - 1] + sizes[at]
                self._too_long += least > self._window
                self._needed = max(self._needed, least)

    def _estimated(self, text: str) -> int:
        if self._tokens:
            return round(len(text) * self._tokens / self._characters) + _TURN
        signs = 0 if text.isascii() else sum(character > "\u2e7f" for character in text)
        return round((len(text) - signs) / _LETTERS_PER_TOKEN + signs) + _TURN


def _readable(path: Path) -> int | None:
    value = files.read_json(path).get("max_position_embeddings") if path.is_file() else None
    return value if isinstance(value, int) else None


def _tokenizer(path: Path) -> Any:
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
