"""Says before a training what it would leave out or cut, and what its exam could not judge."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from luna import artifacts
from luna.conversations import probes
from luna.conversations.batches import Waiting
from luna.conversations.probes import CHOICE, GENERALISATION, RECALL, Probe
from luna.conversations.rephrase import plan
from luna.conversations.schema import Conversation
from luna.history.line import Line
from luna.operations.overlooked import overlooked
from luna.operations.too_long import too_long
from luna.params import Data, Params
from luna.promotion import size
from luna.scores import BY_NAME

_SCORE = {
    RECALL: RECALL,
    GENERALISATION: GENERALISATION,
    CHOICE: GENERALISATION,
}  # by kind of probe
_SAMPLE = 300  # conversations looked at first: they give questions enough wherever all would
_MORE = {
    RECALL: "add conversations to data/conversations",
    GENERALISATION: "add conversations to data/conversations, give some of them 'paraphrases' (other ways to ask, "
    "never trained on), write questions into evals/probes, or keep some conversations for the exam (data.hold_out)",
}


def too_few(
    settings: Params, chosen: list[Conversation], written: list[Probe], before: Counter[str]
) -> list[str]:
    """A sentence for each score that would rest on too few probes, with what to add. ``before``: those of the parent's exam."""
    need = size.needed(settings.promotion.min_probes, len(chosen))
    asked = _asked(settings.data, chosen[:_SAMPLE], written) + before
    if len(chosen) > _SAMPLE and min(asked[kind] for kind in _MORE) < need:
        asked = _asked(settings.data, chosen, written) + before
    return [
        f"too few to judge: the exam will have {asked[kind]} questions for {BY_NAME[kind].words}, and {need} are needed "
        f"(promotion.min_probes), so the rule will deny this generation: {_more(kind, settings.data, need)}"
        for kind in _MORE
        if asked[kind] < need
    ]


def _more(kind: str, data: Data, need: int) -> str:
    """What to add, or first the setting that allows no exam of that size whatever is added."""
    if data.probes_per_kind < need:
        return f"set data.probes_per_kind to {need} or more (it is {data.probes_per_kind})"
    return _MORE[kind]


def _asked(data: Data, chosen: list[Conversation], written: list[Probe]) -> Counter[str]:
    """Probes by score, as the prep stage makes them."""
    delta, held_out = probes.hold_out(chosen, data.hold_out, data.seed)
    lesson = plan.Lesson(delta, [], {1: delta})
    if data.augment != "none":
        seeds = (data.seed, 1)
        lesson, _ = plan.with_rules(lesson, {}, held_out, written, 0, data.probes_per_kind, seeds)
    made = [
        *probes.build(lesson.asked, written, data.probes_per_kind, data.seed),
        *probes.choice_probes({1: held_out}, data.seed)[: data.probes_per_kind],
    ]
    return Counter(_SCORE[probe.kind] for probe in made)


def sentences(
    root: Path, line: Line, settings: Params, batch: Waiting, written: list[Probe]
) -> list[str]:
    """What the next generation would leave out, learn in parts or not at all, and what it could not be judged by."""
    few = []
    if line.sealed and batch.next:  # generation 0 is promoted whatever it scores
        few = too_few(settings, batch.next, written, of_parent(line))
    return [*overlooked(root, settings, batch), *too_long(root, settings, batch.next), *few]


def of_parent(line: Line) -> Counter[str]:
    """Probes of the head's own exam by score, which the next one asks again, all or as many; none of generation 0's."""
    head = line.head_name
    text = line.git.show(f"refs/tags/{head}", artifacts.PREP_REPORT) if head else None
    report = json.loads(text) if text else {}
    counts: Counter[str] = Counter()
    if report.get("new_conversations"):
        for kind, count in report.get("probes", {}).items():
            counts[_SCORE[kind]] += count
    return counts
