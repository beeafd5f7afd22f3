"""Questions that are almost the same, counted as the leak check of the probes counts them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from luna.conversations.probes import NEAR_DUPLICATE, question_grams, similarity


class Questions:
    """Questions, each with whose it is, and which of them are nearly another text."""

    def __init__(self) -> None:
        self._rows: list[tuple[frozenset[str], str]] = []
        self._by_gram: dict[str, list[int]] = defaultdict(list)

    def add(self, text: str, owner: str) -> None:
        """One more question."""
        own = question_grams(text)
        for gram in own:
            self._by_gram[gram].append(len(self._rows))
        self._rows.append((own, owner))

    def owners_near(self, text: str) -> Iterator[str]:
        """Whose questions are almost this text."""
        own = question_grams(text)
        for at in {at for gram in own for at in self._by_gram.get(gram, ())}:
            other, owner = self._rows[at]
            if similarity(own, other) > NEAR_DUPLICATE:
                yield owner


def owners_near_any(questions: Questions, texts: Iterable[str]) -> set[str]:
    """The owners of all questions that are almost one of the texts."""
    return {owner for text in texts for owner in questions.owners_near(text)}
