"""Words that most taught replies have: the voice, which says nothing about any one question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from evals.facts.kinds import Kind
from evals.facts.languages import detect
from evals.facts.tokens import tokens

FEWEST = 20  # replies from which a voice can be heard
SHARE = 0.3  # of the replies


def common(replies: Iterable[str]) -> frozenset[str]:
    """Keys of the words that at least a third of the different replies have; none where there are few replies."""
    different = sorted(set(replies))
    if len(different) < FEWEST:
        return frozenset()
    counts: Counter[str] = Counter()
    for reply in different:
        row = tokens(reply, detect(reply))
        counts.update({str(token.key) for token in row if token.kind is Kind.WORD})
    return frozenset(key for key, count in counts.items() if count >= SHARE * len(different))
