"""The tone eval: how far the style of the answers is from the style that was taught, in any language.

The classics of stylometry (the most frequent words of the texts themselves: Burrows 2002; punctuation and
sentence length: Koppel, Schler and Argamon 2009; character n-grams: Stamatatos 2013) and the letter's case
at the beginning are compared as distributions by the Jensen-Shannon divergence (Lin 1991, base 2, hence
0..1). What is compared are the answers and the reference replies *to the same questions*, and of words and
n-grams only those that many of the texts have, so that content cancels: a fact stands in few texts, a voice
in most. Scripts without spaces have no words: there every two characters that follow each other are one.

Two samples of one voice differ too: what they hardly ever exceed, pieces by drawing pairs of samples of the
same size from the reference itself, is subtracted from each feature. The drift is the quadratic mean of the
features, so that a change of one of them counts. 0 is "as alike as the voice is to itself", 1 is "nothing
in common". The measure sees style in the wording, not warmth, truth or sense.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import regex

from evals.facts.text import UNSPACED
from evals.outcome import Marked, Score
from luna.conversations.probes import Probe

FREQUENT = (
    0.15  # of the answers or of the references must have a word for it to belong to the voice
)
_FEWEST = 2  # texts that must have it, however few there are
_FEWEST_REPLIES = 10  # of each side, for the voice of new lessons to be compared
_RESAMPLES = 100
_CHANCE = 0.9  # quantile of the divergence of two samples of one voice
_NGRAM = 3
_WORD = regex.compile(rf"[{UNSPACED}]+|(?:(?![{UNSPACED}])[\p{{L}}\p{{M}}\p{{N}}'’])+")
_UNSPACED = regex.compile(rf"[{UNSPACED}]")
_MARK = regex.compile(r"[^\p{L}\p{M}\p{N}\s]")
_SENTENCE_END = regex.compile(r"[.!?。！？।؟…]+")
_FIRST_LETTER = regex.compile(r"\p{L}")


def words(text: str) -> list[str]:
    """The words of a text, their case kept; of a script without spaces, every two characters that follow each other."""
    pieces = []
    for word in _WORD.findall(text):
        if _UNSPACED.match(word) and len(word) > 1:
            pieces += [word[i : i + 2] for i in range(len(word) - 1)]
        else:
            pieces.append(word)
    return pieces


def _ngrams(text: str) -> list[str]:
    plain = " " + " ".join(text.split()) + " "
    return [plain[i : i + _NGRAM] for i in range(len(plain) - _NGRAM + 1)]


def _kind(word: str) -> str:
    """What is kept of a word that is not frequent: whether it has a capital, is a number, or neither."""
    return "number" if word[0].isdigit() else "Word" if word[0].isupper() else "word"


def _punctuation(text: str) -> Counter[str]:
    return Counter(_MARK.findall(text)) + Counter({"word": len(words(text))})


def _lengths(text: str) -> Counter[str]:
    """Words of the whole text, and of each sentence, in steps that widen with length (powers of 1.5)."""
    counts = Counter({f"text {_step(len(words(text)))}": 1})
    counts.update(
        f"sentence {_step(len(words(sentence)))}"
        for sentence in _SENTENCE_END.split(text)
        if sentence.strip()
    )
    return counts


def _step(count: int) -> int:
    return int(np.log(max(1, count)) / np.log(1.5))


def _beginning(text: str) -> Counter[str]:
    """Whether the text begins with a capital, where its script has any."""
    first = _FIRST_LETTER.search(text)
    if first is None or first[0].upper() == first[0].lower():
        return Counter()
    return Counter({"capital" if first[0].isupper() else "small": 1})


def _frequent(
    split: Callable[[str], Iterable[str]], groups: Sequence[Sequence[str]]
) -> frozenset[str]:
    """What many texts of one of the groups have."""
    pieces: set[str] = set()
    for texts in groups:
        counts = Counter(item for text in texts for item in set(split(text)))
        least = max(_FEWEST, FREQUENT * len(texts))
        pieces |= {item for item, count in counts.items() if count >= least}
    return frozenset(pieces)


def _counted(answers: Sequence[str], references: Sequence[str]) -> list[list[Counter[str]]]:
    """The counts of each feature, a list of one counter for each text: first the answers, then the references."""
    texts, groups = [*answers, *references], (answers, references)
    voice, grams = _frequent(words, groups), _frequent(_ngrams, groups)
    return [
        [Counter(word if word in voice else _kind(word) for word in words(text)) for text in texts],
        [Counter(gram for gram in _ngrams(text) if gram in grams) for text in texts],
        [_punctuation(text) for text in texts],
        [_lengths(text) for text in texts],
        [_beginning(text) for text in texts],
    ]


def _matrix(counted: Sequence[Counter[str]]) -> np.ndarray:
    """Texts x symbols."""
    column = {symbol: i for i, symbol in enumerate(sorted(set().union(*counted)))}
    matrix = np.zeros((len(counted), len(column)), np.float32)
    for row, counts in enumerate(counted):
        for symbol, count in counts.items():
            matrix[row, column[symbol]] = count
    return matrix


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


def _divergences(
    matrices: Sequence[np.ndarray], first: Sequence[int], second: Sequence[int]
) -> np.ndarray:
    """The Jensen-Shannon divergence of two groups of the texts, feature by feature."""
    return np.array(
        [_jsd(matrix[list(first)].sum(0), matrix[list(second)].sum(0)) for matrix in matrices]
    )


def drift(
    answers: Sequence[str], references: Sequence[str], seed: int
) -> tuple[float, float, float, float]:
    """Drift 0..1, its 95 % bootstrap interval, and what was subtracted, the mean over the features.

    ``answers[i]`` and ``references[i]`` reply to the same question. The interval resamples questions.
    """
    n = len(answers)
    matrices = [_matrix(counted) for counted in _counted(answers, references)]
    generator = random.Random(seed)
    chance, draws = [], []
    for _ in range(_RESAMPLES):
        one, two = ([n + generator.randrange(n) for _ in range(n)] for _ in range(2))
        chance.append(_divergences(matrices, one, two))
        picked = [generator.randrange(n) for _ in range(n)]
        draws.append(_divergences(matrices, picked, [n + i for i in picked]))
    floor = np.quantile(chance, _CHANCE, axis=0)

    def above(divergences: np.ndarray) -> float:
        excess = np.clip((divergences - floor) / np.maximum(1 - floor, 1e-9), 0, 1)
        return float(np.sqrt((excess**2).mean()))

    value = _divergences(matrices, range(n), range(n, 2 * n))
    # A resample repeats some texts, which by itself adds divergence: only the spread is taken from it.
    centred = [above(value + draw - np.mean(draws, axis=0)) for draw in draws]
    low, high = np.quantile(centred, [0.025, 0.975])
    drifted = above(value)
    return drifted, min(float(low), drifted), max(float(high), drifted), float(floor.mean())


def _new_voice(probes: Sequence[Probe], generation: int, seed: int) -> float | None:
    """How far the replies that this generation was taught are from those of its ancestors, 0..1; None for too few of either."""
    taught = [probe for probe in probes if probe.generation is not None]
    new = list(dict.fromkeys(item.reference for item in taught if item.generation == generation))
    old = list(dict.fromkeys(item.reference for item in taught if item.generation != generation))
    n = min(len(new), len(old))
    return drift(new[:n], old[:n], seed)[0] if n >= _FEWEST_REPLIES else None


def score(marked: Sequence[Marked], seed: int, generation: int | None = None) -> Score:
    """Drift over every probe that has a reference reply. A model without any answer has drift 1.

    ``generation``: the one that is judged; then the details say how far the voice of its own lessons is from the earlier ones'.
    """
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
    details: dict[str, float | None] = {"floor": floor, "silent": silent}
    if generation is not None:
        details["new_voice"] = _new_voice([item.probe for item in asked], generation, seed)
    return Score(value, len(asked), low, high, details)
