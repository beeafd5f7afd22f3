"""The tone eval: how far the style of the answers is from the style that was taught.

The classics of stylometry (function words: Mosteller and Wallace 1964, Burrows 2002; punctuation and
sentence length: Koppel, Schler and Argamon 2009; character n-grams: Stamatatos 2013) are compared as
distributions by the Jensen-Shannon divergence (Lin 1991, base 2, hence 0..1). What is compared are
the answers and the reference replies *to the same questions*, so that content mostly cancels.

Two samples of one voice differ too: that floor, found by drawing pairs of samples of the same size
from the reference itself, is subtracted. 0 is "as alike as the voice is to itself", 1 is "nothing in
common". The measure sees style in the wording, not warmth, truth or sense.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from evals.outcome import Marked, Score

_RESAMPLES = 100
_NGRAM = 3
FUNCTION_WORDS = frozenset(
    [
        "a",
        "about",
        "above",
        "after",
        "again",
        "against",
        "ah",
        "all",
        "also",
        "always",
        "am",
        "an",
        "and",
        "any",
        "anyway",
        "are",
        "as",
        "at",
        "aye",
        "be",
        "because",
        "been",
        "before",
        "being",
        "below",
        "between",
        "both",
        "but",
        "by",
        "can",
        "cannot",
        "could",
        "dear",
        "did",
        "do",
        "does",
        "down",
        "each",
        "either",
        "else",
        "even",
        "ever",
        "every",
        "few",
        "for",
        "from",
        "further",
        "had",
        "has",
        "have",
        "he",
        "her",
        "here",
        "hers",
        "him",
        "his",
        "how",
        "however",
        "i",
        "if",
        "in",
        "indeed",
        "into",
        "is",
        "it",
        "its",
        "just",
        "less",
        "like",
        "may",
        "maybe",
        "me",
        "might",
        "mine",
        "more",
        "most",
        "much",
        "must",
        "my",
        "near",
        "neither",
        "never",
        "no",
        "nor",
        "not",
        "now",
        "of",
        "off",
        "oh",
        "often",
        "on",
        "once",
        "only",
        "onto",
        "or",
        "other",
        "our",
        "ours",
        "out",
        "over",
        "own",
        "per",
        "perhaps",
        "quite",
        "rather",
        "same",
        "shall",
        "she",
        "should",
        "since",
        "so",
        "some",
        "still",
        "such",
        "than",
        "that",
        "the",
        "their",
        "theirs",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "though",
        "through",
        "thus",
        "to",
        "too",
        "toward",
        "under",
        "until",
        "up",
        "upon",
        "us",
        "very",
        "was",
        "we",
        "well",
        "were",
        "what",
        "when",
        "where",
        "whether",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "within",
        "without",
        "would",
        "yes",
        "yet",
        "you",
        "your",
        "yours",
    ]
)


def _function_words(text: str) -> Counter[str]:
    return Counter(
        word if word in FUNCTION_WORDS else "*" for word in re.findall(r"[\w']+", text.casefold())
    )


def _punctuation(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\w\s]", text)) + Counter({"word": len(text.split())})


def _lengths(text: str) -> Counter[str]:
    """Words of the whole text, and of each sentence, in steps that widen with length (powers of 1.5)."""
    counts = Counter({f"text {_step(len(text.split()))}": 1})
    for sentence in re.split(r"[.!?]+", text):
        if sentence.strip():
            counts[f"sentence {_step(len(sentence.split()))}"] += 1
    return counts


def _step(words: int) -> int:
    return int(np.log(max(1, words)) / np.log(1.5))


def _ngrams(text: str) -> Counter[str]:
    plain = " " + " ".join(text.casefold().split()) + " "
    return Counter(plain[i : i + _NGRAM] for i in range(len(plain) - _NGRAM + 1))


FEATURES: tuple[Callable[[str], Counter[str]], ...] = (
    _function_words,
    _punctuation,
    _lengths,
    _ngrams,
)


class Style:
    """Counts of every feature for a list of texts, as one matrix a feature: texts x symbols."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.size = len(texts)
        self._matrices = []
        for feature in FEATURES:
            counted = [feature(text) for text in texts]
            column = (
                {symbol: i for i, symbol in enumerate(sorted(set().union(*counted)))}
                if counted
                else {}
            )
            matrix = np.zeros((len(texts), len(column)), np.float32)
            for row, counts in enumerate(counted):
                for symbol, count in counts.items():
                    matrix[row, column[symbol]] = count
            self._matrices.append(matrix)

    def divergence(self, first: Sequence[int], second: Sequence[int]) -> float:
        """Mean over the features of the Jensen-Shannon divergence between two groups of the texts."""
        return float(
            np.mean(
                [
                    _jsd(matrix[list(first)].sum(0), matrix[list(second)].sum(0))
                    for matrix in self._matrices
                ]
            )
        )


def _jsd(p: np.ndarray, q: np.ndarray) -> float:
    if not p.sum() or not q.sum():
        return 0.0 if p.sum() == q.sum() else 1.0
    p, q = p / p.sum(), q / q.sum()
    m = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(
            (
                np.where(p > 0, p * np.log2(p / m), 0).sum()
                + np.where(q > 0, q * np.log2(q / m), 0).sum()
            )
            / 2
        )


def drift(
    answers: Sequence[str], references: Sequence[str], seed: int
) -> tuple[float, float, float, float]:
    """Drift 0..1, its 95 % bootstrap interval, and the floor that was subtracted.

    ``answers[i]`` and ``references[i]`` reply to the same question. The interval resamples questions.
    """
    n = len(answers)
    style = Style([*answers, *references])
    generator = random.Random(seed)
    floors, draws = [], []
    for _ in range(_RESAMPLES):
        one, two = ([n + generator.randrange(n) for _ in range(n)] for _ in range(2))
        floors.append(style.divergence(one, two))
        picked = [generator.randrange(n) for _ in range(n)]
        draws.append(style.divergence(picked, [n + i for i in picked]))
    floor = float(np.mean(floors))
    value = style.divergence(range(n), range(n, 2 * n))
    # A resample repeats some texts, which by itself adds divergence: only the spread is taken from it.
    low, high = value + np.quantile(draws, [0.025, 0.975]) - np.mean(draws)

    def above(divergence: float) -> float:
        return min(1.0, max(0.0, (float(divergence) - floor) / (1 - floor)))

    return above(value), above(low), above(high), floor


def score(marked: Sequence[Marked], seed: int) -> Score:
    """Drift over every probe that has a reference reply. A model without any answer has drift 1."""
    asked = [
        item for item in marked if item.probe.reference and not item.probe.distractors
    ]  # a chosen reply is not her own words
    if not asked:
        return Score(None, 0)
    value, low, high, floor = drift(
        [item.answer.text for item in asked], [item.probe.reference for item in asked], seed
    )
    silent = sum(not item.answer.text for item in asked) / len(asked)
    value, low, high = (max(number, silent) for number in (value, low, high))
    return Score(value, len(asked), low, high, {"floor": floor, "silent": silent})
