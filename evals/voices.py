"""Tone drift of a healthy child and of changed voices: python -m evals.voices.

The texts are evals/tone_samples.yaml: the same things said in several voices. A healthy child says other
facts in the first voice; a changed one says the taught facts in another voice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evals import tone

SAMPLES = Path(__file__).with_name("tone_samples.yaml")
SIZES = (40, 120, 240)  # probes of an exam
BOUND = 0.05  # promotion.tone_drift as shipped
_SEED = 7


@dataclass(frozen=True)
class Pair:
    """Replies of one voice and answers to the same questions. ``healthy``: they are in that voice, about other facts."""

    name: str
    voice: str
    healthy: bool
    answers: list[str]
    references: list[str]

    @property
    def drift(self) -> float:
        """Tone drift of the answers, 0..1."""
        return tone.drift(self.answers, self.references, _SEED)[0]


def _texts(frames: Sequence[str], facts: Sequence[str], n: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [generator.choice(frames).format(a=facts[i % len(facts)]) for i in range(n)]


def pairs(n: int) -> list[Pair]:
    """A healthy child and each changed voice of every sample, with ``n`` answers."""
    samples: dict[str, dict[str, Any]] = yaml.safe_load(SAMPLES.read_text(encoding="utf-8"))
    made = []
    for name, sample in samples.items():
        first, *changed = sample["voices"]
        taught = _texts(sample["voices"][first], sample["facts"], n, 1)
        # Another seed: the child says it in other frames of the same voice, too.
        healthy = _texts(sample["voices"][first], sample["others"], n, 2)
        made.append(Pair(name, first, True, healthy, taught))
        for voice in changed:
            answers = _texts(sample["voices"][voice], sample["facts"], n, 1)
            made.append(Pair(name, voice, False, answers, taught))
    return made


def main() -> None:
    """Print the table."""
    print(f"| texts | answers in | must be | {' | '.join(f'{n} answers' for n in SIZES)} |")
    print(f"| --- | --- | --- |{' ---: |' * len(SIZES)}")
    for row in zip(*map(pairs, SIZES), strict=True):
        bound = f"{'<=' if row[0].healthy else '>'} {BOUND}"
        voice = "the same voice, other facts" if row[0].healthy else row[0].voice
        print(
            f"| {row[0].name} | {voice} | {bound} | {' | '.join(f'{pair.drift:.3f}' for pair in row)} |"
        )


if __name__ == "__main__":
    main()
