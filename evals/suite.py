"""Runs the suite: asks every probe once and makes every score from the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals import choice, generalisation, recall, tone
from evals.facts import background
from evals.outcome import Marked, Score, mark
from luna.answering.ask import ask
from luna.conversations.probes import Probe
from luna.params import Evaluate

#: Which measures gave the scores: another number is another measure, and its scores do not compare.
METHOD = "facts 1, tone 2"


def examine(
    model: Path, probes: Sequence[Probe], system_prompt: str, settings: Evaluate, max_length: int
) -> list[Marked]:
    """Ask a GGUF model the probes and mark each answer; those whose reply fits in no window of ``max_length`` tokens are left out."""
    answers = ask(model, probes, system_prompt, settings, choice.choose, max_length)
    common = background.common(probe.reference for probe in probes if not probe.distractors)
    return [
        mark(probe, answer, settings.chrf_min, common)
        for probe, answer in zip(probes, answers, strict=True)
        if answer
    ]


def scores(marked: Sequence[Marked], generation: int, seed: int) -> dict[str, Score]:
    """Every score by its name, from the marked answers of one generation."""
    return {
        "recall": recall.score(marked, generation),
        "generalisation": generalisation.score(marked),
        "tone_drift": tone.score(marked, seed, generation),
    }


def as_rows(marked: Sequence[Marked]) -> list[dict[str, Any]]:
    """One row an answer, for reading and for comparing with another generation's."""
    return [
        item.probe.as_row() | asdict(item.answer) | {"correct": item.correct, "marked_by": item.how}
        for item in marked
    ]
