"""Says before a training what the exam after it cannot judge, because it would have too few questions."""

from __future__ import annotations

import json

from luna import artifacts
from luna.conversations import probes
from luna.conversations.probes import CHOICE, GENERALISATION, RECALL, Probe
from luna.conversations.schema import Conversation
from luna.history.line import Line
from luna.params import Params
from luna.promotion import size
from luna.scores import BY_NAME

_MANY = 500  # conversations that give questions enough in any case where some are held out
_MORE = {
    "recall": "add conversations to data/conversations",
    "generalisation": "add conversations to data/conversations, give some of them 'paraphrases' (other ways to ask, "
    "never trained on), or write questions into evals/probes",
}


def too_few(
    line: Line, settings: Params, chosen: list[Conversation], written: list[Probe]
) -> list[str]:
    """A sentence for each score that would rest on too few probes, with what to add."""
    data = settings.data
    if len(chosen) > _MANY and data.hold_out:
        return []
    delta, held_out = probes.hold_out(chosen, data.hold_out, data.seed)
    own = [
        *probes.build({1: delta}, written, data.probes_per_kind, data.seed),
        *probes.choice_probes({1: held_out}, data.seed)[: data.probes_per_kind],
    ]
    counts = {kind: sum(probe.kind == kind for probe in own) for kind in probes.KINDS}
    for kind, count in _of_parent(line).items():
        counts[kind] += count
    asked = {
        "recall": counts[RECALL],
        "generalisation": counts[GENERALISATION] + counts[CHOICE],
    }
    need = size.needed(settings.promotion.min_probes, len(chosen))
    return [
        f"too few to judge: the exam will have {count} questions for {BY_NAME[name].words}, and {need} are needed "
        f"(promotion.min_probes), so the rule will deny this generation: {_MORE[name]}"
        for name, count in asked.items()
        if count < need
    ]


def _of_parent(line: Line) -> dict[str, int]:
    """Probes of the head's own exam by kind, which the next one asks again, all or as many; none of generation 0's."""
    head = line.head_name
    text = line.git.show(f"refs/tags/{head}", artifacts.PREP_REPORT) if head else None
    report = json.loads(text) if text else {}
    if not report.get("new_conversations"):
        return {}
    return {kind: count for kind, count in report.get("probes", {}).items() if kind in probes.KINDS}
