"""README.md of an export: what model hubs read, and numbers for a person, but no conversation.

It is made from metrics.json's numbers and not from MODEL_CARD.md, since the cards of earlier generations hold questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts, files, scores
from luna.history.line import Line, sealed_params
from luna.model import base
from luna.params import Params
from luna.promotion.front_matter import front_matter
from luna.scores import SCORES


@dataclass(frozen=True)
class Sealed:
    """What a generation's tag says of it: ``sha256`` of model.gguf; ``hub_id`` and ``licence`` of its base where they are known."""

    name: str
    settings: Params
    metrics: Mapping[str, Any]
    sha256: str
    hub_id: str | None
    licence: str | None


def read(line: Line, name: str) -> Sealed:
    """From the tag."""
    settings = sealed_params(line.git, name)
    metrics, digest = line.git.cat(
        [
            f"refs/tags/{name}:{path.as_posix()}"
            for path in (artifacts.METRICS, artifacts.WEIGHTS_SHA256)
        ]
    )
    sha256 = (digest or b"").decode().split(" ")[0]
    return Sealed(name, settings, json.loads(metrics or b"{}"), sha256, *base.origin(settings.base))


def public(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """metrics.json without the advice, which quotes questions."""
    decision = {key: value for key, value in metrics["decision"].items() if key != "advice"}
    return dict(metrics) | {"decision": decision}


def write(sealed: Sealed, out: Path, library: str, use: str) -> None:
    """README.md in ``out``; ``use``: how to load what lies beside it, for ``library``."""
    metrics = sealed.metrics
    head = front_matter(
        metrics,
        sealed.hub_id,
        sealed.licence,
        sealed.settings.export.quantization,
        library,
    )
    generation, data, evaluation = (metrics[key] for key in ("generation", "data", "evaluation"))
    lines = [
        f"# {sealed.name}",
        "",
        f"Generation {generation['id']} of a line that Luna keeps; its parent is {_parent(generation['parent'])}. "
        f"{'Promoted' if metrics['decision']['promoted_to_head'] else 'Denied'} by the line's own rule.",
        "",
        "| Score | Value | 95 % interval | Probes |",
        "| --- | --- | --- | --- |",
        *(_row(score, evaluation) for score in SCORES if score.name in evaluation["intervals"]),
        "",
        f"Taught {data['new_conversations']} new conversations, {data['replay_samples']} of its ancestors' were repeated, in "
        f"{metrics['training']['steps']} steps. {metrics['evolution']['weight_change_percent']:g} % of the tensors changed.",
        "",
        f"- SHA-256 of the sealed model.gguf: `{sealed.sha256}`",
        f"- SHA-256 of the new conversations: `{data['data_delta_sha256']}`",
        "",
        "## How to use it",
        "",
        use.rstrip(),
    ]
    files.write_text(out / "README.md", head + "\n".join(lines) + "\n")


def _parent(parent: int | str) -> str:
    return f"generation {parent}" if isinstance(parent, int) else "the base model"


def _row(score: scores.Score, evaluation: Mapping[str, Any]) -> str:
    interval = evaluation["intervals"][score.name]
    low, high = (scores.shown(interval.get(side)) for side in ("low", "high"))
    value = scores.shown(evaluation.get(score.key))
    return f"| {score.title} | {value} | {low} to {high} | {interval['n']} |"
