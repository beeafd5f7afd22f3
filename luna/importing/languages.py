"""Which languages conversations are in, by py3langid: about right for a sentence, a guess for a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_FEWEST_LETTERS = 20  # of a text whose language is worth a guess
UNKNOWN = "und"  # ISO 639-3: undetermined


def counted(texts: Iterable[str]) -> dict[str, int]:
    """How many texts are in each language (ISO 639-1), the most frequent first."""
    import py3langid

    counts: Counter[str] = Counter()
    for text in texts:
        letters = sum(map(str.isalpha, text))
        # A sign of Chinese, Japanese or Korean says as much as several letters.
        worth = letters + 4 * sum(character > "\u2e7f" for character in text)
        counts[py3langid.classify(text)[0] if worth >= _FEWEST_LETTERS else UNKNOWN] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
