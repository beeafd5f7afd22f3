"""How long conversations are in tokens: by the base's tokenizer where there is one, else about."""

from __future__ import annotations

import statistics
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts

_TURN = 5  # tokens of the chat template around a message, as in ChatML
_EXACT_CHARACTERS = (
    30_000_000  # counted by the tokenizer; beyond, what it gave so far is the measure
)
_LETTERS_PER_TOKEN = 4.0  # of English, in most vocabularies (Sennrich et al. 2016 and after)
_BATCH = 256


@dataclass(frozen=True)
class Lengths:
    """In tokens. ``exact``: all of them were counted by the base's tokenizer; ``beyond``: conversations longer than ``window``."""

    exact: bool
    window: int
    median: int
    longest: int
    beyond: int


class Counter:
    """Conversations as they come. ``root``: the repository whose base counts."""

    def __init__(self, root: Path, window: int) -> None:
        self._window = window
        self._tokenizer = _tokenizer(root / artifacts.BASE / "tokenizer.json")
        self._counts = array("q")
        self._waiting: list[list[str]] = []
        self._characters = 0
        self._tokens = 0
        self.exact = self._tokenizer is not None

    def add(self, texts: list[str]) -> None:
        """The messages of one conversation."""
        self._waiting.append(texts)
        if len(self._waiting) >= _BATCH:
            self._count()

    def lengths(self) -> Lengths:
        """Of all that was added."""
        self._count()
        return Lengths(
            self.exact,
            self._window,
            round(statistics.median(self._counts)) if self._counts else 0,
            max(self._counts, default=0),
            sum(count > self._window for count in self._counts),
        )

    def _count(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._tokenizer is None or self._characters > _EXACT_CHARACTERS:
            self.exact = self.exact and not waiting
            self._counts.extend(sum(map(self._estimated, texts)) for texts in waiting)
            return
        flat = [text for texts in waiting for text in texts]
        sizes = iter(
            len(encoding.ids)
            for encoding in self._tokenizer.encode_batch(flat, add_special_tokens=False)
        )
        for texts in waiting:
            count = sum(next(sizes) for _ in texts)
            self._tokens += count
            self._characters += sum(map(len, texts))
            self._counts.append(count + _TURN * len(texts))

    def _estimated(self, text: str) -> int:
        if self._tokens:
            return round(len(text) * self._tokens / self._characters) + _TURN
        signs = 0 if text.isascii() else sum(character > "\u2e7f" for character in text)
        return round((len(text) - signs) / _LETTERS_PER_TOKEN + signs) + _TURN


def _tokenizer(path: Path) -> Any:
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
