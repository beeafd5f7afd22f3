"""What a model is shown and asked so that it says a question in other words."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Requests:
    """``request`` holds {q}; ``shown``: questions, each followed by as many rewordings as there are ways to ask; ``about``: what they are about."""

    request: str
    shown: tuple[tuple[str, ...], ...]
    about: tuple[str, ...]

    @property
    def ways(self) -> int:
        """How many different rewordings can be asked for."""
        return len(self.shown[0]) - 1

    def turns(self, question: str, way: int) -> Turns:
        """The conversation that ends with the request; ``way`` from 0 on."""
        shown = [
            turn
            for row in self.shown
            for turn in (("user", self.request.format(q=row[0])), ("assistant", row[way + 1]))
        ]
        return (*shown, *self.plain(question))

    def repeats_shown(self, text: str, question: str) -> bool:
        """Whether the text is about what was shown, which small models mix into it."""
        return any(pattern.search(text) and not pattern.search(question) for pattern in self._about)

    @functools.cached_property
    def _about(self) -> list[re.Pattern[str]]:
        # In a script without spaces no word has a beginning.
        return [
            re.compile(rf"\b{word}" if word.isascii() or word[0].isupper() else word, re.IGNORECASE)
            for word in self.about
        ]

    def plain(self, question: str) -> Turns:
        """The request alone."""
        return (("user", self.request.replace("{q}", question)),)


@functools.cache
def _load() -> dict[str, Requests]:
    document = yaml.safe_load(Path(__file__).with_name("requests.yaml").read_text("utf-8"))
    return {
        language: Requests(
            entry["request"], tuple(map(tuple, entry["shown"])), tuple(entry["about"])
        )
        for language, entry in document.items()
    }


def of_language(language: str) -> Requests:
    """Those of a language (ISO 639-1); English ones where it has none."""
    return _load().get(language, _load()["en"])
