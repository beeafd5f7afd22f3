"""All that is made by rule for one generation: its variants, those of its replay, and its exam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from luna.conversations.probes import Probe
from luna.conversations.rephrase import exam, training
from luna.conversations.rephrase.draw import Asked, Report
from luna.conversations.schema import Conversation


@dataclass(frozen=True)
class Lesson:
    """What a generation trains on (``delta``, with the variants of it, and ``replay``), and what it is asked."""

    delta: list[Conversation]
    replay: training.Replay
    asked: dict[int | None, list[Conversation]]

    @property
    def examples(self) -> list[Conversation]:
        """All of the training set."""
        return self.delta + [item for _, item in self.replay]


def with_rules(
    lesson: Lesson,
    old: Mapping[int, Sequence[Conversation]],
    kept: Sequence[Conversation],
    written: Sequence[Probe],
    most_replayed: int,
    cap: int,
    seeds: tuple[int, int],
    drafts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> tuple[Lesson, Report]:
    """The lesson with what the rules add to it.

    ``old``: what the ancestors taught. ``kept``: conversations held out for the exam. ``cap``: probes of a kind.
    ``seeds``: of the line, and the generation's number. ``drafts``: rewordings that a model wrote, by identity; they are
    trained on, and asked in no exam.
    """
    report = Report()
    every = [item for items in lesson.asked.values() for item in items]
    own: list[Asked] = [(item.question[-1][1], item.identity) for item in every]
    reserved: list[Asked] = [(text, None) for item in every for text in item.paraphrases]
    reserved += [(item.question[-1][1], None) for item in kept]
    reserved += [(probe.messages[-1][1], None) for probe in written]
    seed = f"{seeds[0]}/{seeds[1]}"
    replay = training.of_replay(lesson.replay, old, most_replayed, own + reserved, seed, report)
    examples = len(lesson.delta) + len(replay)
    added = training.of_delta(lesson.delta, examples, own + reserved, seed, report, drafts)
    taught = Lesson(lesson.delta + added, replay, lesson.asked)
    trained = {text for item in taught.examples for role, text in item.messages if role == "user"}
    trained |= {text for text, _ in own}
    known = ((text, None) for text in trained)
    asked = exam.with_paraphrases(lesson.asked, known, cap, seeds[0], report)
    return Lesson(taught.delta, replay, asked), report
