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
    """``small``: words without a fact of their own. ``same``: for a word, others that mean the same, by side."""

    language: str
    small: frozenset[str]
    same: dict[str, dict[Side, tuple[str, ...]]]
    training: Frames
    exam: Frames

    @property
    def gap(self) -> str:
        """What stands between two sentences."""
        return "" if self.language == "ja" else " "

    def frames(self, side: Side) -> Frames:
        """Of one side."""
        return self.training if side == "training" else self.exam

    def others(self, word: str, side: Side) -> tuple[str, ...]:
        """Words that most people use for ``word``, of one side."""
        known = self.same.get(word)
        if known is None and word.endswith("s") and word[:-1] in self.same:
            return tuple(f"{other}s" for other in self.same[word[:-1]][side] if " " not in other)
        return known[side] if known else ()

    def fit(self, question: str) -> bool:
        """Whether the question holds words of the language: of several languages, the rules are those of the most frequent."""
        if self.language == "ja":
            return _KANA.search(question) is not None
        return any(word in self.small for word in re.findall(r"\w+", question.casefold()))


def _sides(others: str) -> dict[Side, tuple[str, ...]]:
    ours, _, exam = others.partition("|")
    return {
        "training": tuple(word.strip() for word in ours.split(",")),
        "exam": tuple(word.strip() for word in exam.split(",")),
    }


@functools.cache
def load() -> dict[str, Rules]:
    """By language (ISO 639-1)."""
    document = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8"))
    return {
        language: Rules(
            language,
            frozenset(entry["small"].split()),
            {word: _sides(others) for word, others in entry.get("same", {}).items()},
            *(
                Frames(**{key: tuple(texts) for key, texts in entry[side].items()})
                for side in ("training", "exam")
            ),
        )
        for language, entry in document.items()
    }
