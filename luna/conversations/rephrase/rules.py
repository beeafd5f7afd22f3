"""The rules of a language, as rules.yaml has them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

Side = Literal["training", "exam"]
_KANA = re.compile(r"[\u3041-\u30ff]")


@dataclass(frozen=True)
class Frames:
    """What one side says around a question: sentences before and after, and frames for its parts."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    clause: tuple[str, ...] = ()
    thing: tuple[str, ...] = ()
    short: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rules:
    """``small``: words without a fact of their own."""

    language: str
    small: frozenset[str]
    training: Frames
    exam: Frames

    @property
    def gap(self) -> str:
        """What stands between two sentences."""
        return "" if self.language == "ja" else " "

    def frames(self, side: Side) -> Frames:
        """Of one side."""
        return self.training if side == "training" else self.exam

    def fit(self, question: str) -> bool:
        """Whether the question holds words of the language: of several languages, the rules are those of the most frequent."""
        if self.language == "ja":
            return _KANA.search(question) is not None
        return any(word in self.small for word in re.findall(r"\w+", question.casefold()))


@functools.cache
def load() -> dict[str, Rules]:
    """By language (ISO 639-1)."""
    document = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8"))
    return {
        language: Rules(
            language,
            frozenset(entry["small"].split()),
            *(
                Frames(**{key: tuple(texts) for key, texts in entry[side].items()})
                for side in ("training", "exam")
            ),
        )
        for language, entry in document.items()
    }
