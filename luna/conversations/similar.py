"""Finds texts that are nearly the same, exactly, in time that grows with their number.

Alike are texts of which more than a bound of all character 5-grams of either are in both (Jaccard similarity). Of two such
texts at least one of the rarest grams is shared, so only those are looked up (prefix filtering: Chaudhuri et al. 2006;
Bayardo et al. 2007, "Scaling up all pairs similarity search").
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

NEAR_DUPLICATE = 0.9  # Jaccard similarity above which two questions are one
_GRAM = 5
_WORDS = re.compile(r"\w+")


def grams(text: str) -> frozenset[str]:
    """The character 5-grams of a text, without case and punctuation."""
    plain = " ".join(_WORDS.findall(text.casefold()))
    return frozenset(plain[i : i + _GRAM] for i in range(max(1, len(plain) - _GRAM + 1)))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's: of the grams of either, the fraction that is in both."""
    return len(one & other) / len(one | other)


class Similar:
    """Texts, of which those like another one can be found."""

    def __init__(self, texts: Sequence[str], bound: float = NEAR_DUPLICATE) -> None:
        self._texts, self._bound = texts, bound
        self._counts = Counter(gram for text in texts for gram in grams(text))
        self._index: dict[str, list[int]] = defaultdict(list)
        for at, text in enumerate(texts):
            for gram in self._rarest(grams(text)):
                self._index[gram].append(at)

    def like(self, text: str) -> list[int]:
        """Indexes of the texts that are nearly the same as ``text``, in order."""
        own = grams(text)
        # Most texts share too little with all of them together.
        if sum(gram in self._counts for gram in own) <= self._bound * len(own):
            return []
        near = {at for gram in self._rarest(own) for at in self._index.get(gram, ())}
        return sorted(at for at in near if similarity(own, grams(self._texts[at])) > self._bound)

    def _rarest(self, own: frozenset[str]) -> list[str]:
        """So many that a text which shares none of them shares too few of all."""
        count = len(own) - math.ceil(self._bound * len(own)) + 1
        return sorted(own, key=lambda gram: (self._counts[gram], gram))[:count]
