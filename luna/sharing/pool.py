"""The loaded models of a server: an answer in progress keeps the model it began with."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from luna.answering.engine import Engine
from luna.errors import LunaError
from luna.history.line import read_line
from luna.names import head_tag, is_head
from luna.sharing import models

SECONDS_BETWEEN_LOOKS = (
    0.5  # at the head: well under the two seconds in which a new best is promised
)
MAX_IDLE = 1  # models kept loaded beside the head's while nobody asks them


@dataclass
class Loaded:
    """``users`` counts answers under way or waiting; ``turn`` is held by the one being written."""

    name: str
    engine: Engine
    system: str
    users: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, messages: list[tuple[str, str]], max_tokens: int) -> Generator[str, None, str]:
        """Pieces of the answer, and as its value why it ended; waits for its turn. Raises ExportError when the conversation is too long."""
        with self.turn:
            return (
                yield from self.engine.stream(self.engine.prompt(messages, self.system), max_tokens)
            )


class Pool:
    """Raises LunaError when the head cannot be loaded at the start; later it stays with the last that could."""

    def __init__(self, root: Path, prefix: str) -> None:
        self.root, self.prefix = root, prefix
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded: dict[str, Loaded] = {}
        self._stop = threading.Event()
        self.head = self._load(models.resolve(root, prefix, "HEAD")).name
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Stop following the head, and free all models."""
        self._stop.set()
        self._watcher.join()
        for loaded in self._loaded.values():
            loaded.engine.__exit__()

    def names(self) -> list[str]:
        """What can be asked for: the head's alias first, then each generation."""
        return [head_tag(self.prefix), *read_line(self.root, self.prefix).names]

    def take(self, reference: str) -> Loaded:
        """A model to answer with; give it back by ``release``. Raises InputError when there is none of that name."""
        while True:
            name = (
                self.head
                if is_head(reference)
                else models.resolve(self.root, self.prefix, reference)
            )
            self._load(name)
            with self._lock:
                if loaded := self._loaded.get(name):  # else it was freed between the two
                    loaded.users += 1
                    return loaded

    def release(self, loaded: Loaded) -> None:
        """Give a model back that ``take`` gave."""
        with self._lock:
            loaded.users -= 1
        self._free_idle()

    def _load(self, name: str) -> Loaded:
        with self._loading:
            with self._lock:
                if loaded := self._loaded.get(name):
                    return loaded
            engine, system = models.load(self.root, self.prefix, name)
            with self._lock:
                return self._loaded.setdefault(name, Loaded(name, engine, system))

    def _free_idle(self) -> None:
        with self._lock:
            idle = [
                name
                for name, loaded in self._loaded.items()
                if not loaded.users and name != self.head
            ]
            freed = [self._loaded.pop(name) for name in idle[: max(0, len(idle) - MAX_IDLE)]]
        for loaded in freed:
            loaded.engine.__exit__()

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            try:
                name = models.resolve(self.root, self.prefix, "HEAD")
                if name != self.head:
                    self._load(name)
                    self.head = name
                    self._free_idle()
            except (LunaError, OSError):
                continue  # the head is being moved, or its bytes cannot be had: the last good one answers
