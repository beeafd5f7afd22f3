"""The boxes of the safety checklist that a generation's own files can tick before its seal.

What only git and cold storage can tell (archived, tagged, the head moved) is added by 'luna doctor --checklist'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna.scores import IN_LEDGER, shown

DONE, OPEN, YOURS, NONE = "done", "open", "yours", "not needed"
MARKS = {OPEN: "[ ]", DONE: "[x]", YOURS: "[?]", NONE: "[-]"}
BEFORE, DURING, AFTER, PROMOTION, POST = (
    "Before training",
    "During training",
    "After training",
    "Promotion decision",
    "Post-generation",
)
_CHECKPOINT_STEPS = 100


@dataclass(frozen=True)
class Box:
    """``state``: done, open (a machine looked and it is not so), yours (a person's judgement), not needed."""

    section: str
    text: str
    state: str
    evidence: str


def ticked(section: str, text: str, holds: bool, evidence: str) -> Box:
    """A box that a machine ticks."""
    return Box(section, text, DONE if holds else OPEN, evidence)


def logged(parent: str | None, has_row: bool) -> Box:
    """``parent`` None: the generation is the ancestor."""
    text = "Parent metrics logged (lineage.csv)"
    return (
        ticked(BEFORE, text, has_row, f"the row of {parent}")
        if parent
        else Box(BEFORE, text, NONE, "it is the ancestor")
    )


def prepared(prep: Mapping[str, Any]) -> Box:
    """The box for the training data."""
    return ticked(
        BEFORE,
        "Training data prepared (new + replay)",
        "total_training_examples" in prep,
        f"{prep.get('new_conversations', '?')} new, {prep.get('replay_samples', '?')} replayed",
    )


def hashed(listed: str | None, in_ledger: str | None) -> Box:
    """The digest in data_delta.sha256 and the ledger's; None where there is none."""
    return ticked(
        BEFORE,
        "Data delta hashed (SHA-256)",
        bool(listed) and listed == in_ledger,
        "data_delta.sha256 is the ledger's" if in_ledger else "no row",
    )


def during(args: Mapping[str, Any], curve: bool) -> list[Box]:
    """From train_args.json; ``curve``: whether there is a loss curve."""
    texts = (
        "Checkpoint every 100 steps (rollback points)",
        "Monitor loss (catch divergence early)",
        "Resource monitoring (VRAM, disk space)",
    )
    if not args.get("training_steps"):
        return [Box(DURING, text, NONE, "nothing was trained") for text in texts]
    settings, memory, stopped = (
        args.get("settings") or {},
        args.get("peak_memory_bytes"),
        args.get("stopped"),
    )
    steps = settings.get("save_steps")
    start, final = (args.get(key) or 0 for key in ("loss_start", "loss_final"))
    fell = f"{start:.2f} to {final:.2f}"
    if not curve:
        watched = Box(DURING, texts[1], OPEN, "no loss curve was kept")
    elif "divergence_factor" in settings:
        watched = Box(
            DURING,
            texts[1],
            DONE,
            f"stopped early: {stopped['why']}" if stopped else f"each step was watched, {fell}",
        )
    else:  # trained by an older Luna, which watched for NaN alone
        watched = Box(DURING, texts[1], YOURS, f"look at the curve ('dvc plots show'): {fell}")
    return [
        ticked(
            DURING,
            texts[0],
            isinstance(steps, int) and 0 < steps <= _CHECKPOINT_STEPS,
            f"every {steps} steps",
        ),
        watched,
        ticked(
            DURING,
            texts[2],
            bool(memory),
            f"peak {memory / 1e9:.1f} GB on {args.get('device')}"
            if memory
            else "no peak was recorded",
        ),
    ]


def after(
    metrics: Mapping[str, Any], export: Mapping[str, Any], report: bool, card: bool
) -> list[Box]:
    """``report`` and ``card``: whether EVAL.md and MODEL_CARD.md are there."""
    scores, evolution = metrics.get("evaluation", {}), export.get("evolution", {})
    three = [scores.get(score.key) for score in IN_LEDGER]
    return [
        ticked(
            AFTER,
            "Run 3 evals (recall, generalisation, tone)",
            None not in three,
            ", ".join(map(shown, three)),
        ),
        ticked(
            AFTER,
            "Track weight evolution (checksum diff)",
            "changed_layers" in evolution,
            f"{evolution.get('changed_layers')} of {evolution.get('total_layers')} tensors changed",
        ),
        ticked(AFTER, "Save metrics.json (objective scores)", bool(metrics), "kept in git"),
        ticked(
            AFTER, "Generate EVAL.md (human-readable)", report, "kept in git; reading it is yours"
        ),
        ticked(AFTER, "Create MODEL_CARD.md (one-pager)", card, "kept in git"),
    ]


def appended(number: int, has_row: bool) -> Box:
    """The box for the ledger's row."""
    return ticked(
        POST, "Update lineage.csv (append new row)", has_row, f"row of generation {number}"
    )


def cleaned(left: Sequence[str]) -> Box:
    """``left``: names of what is left in .luna/checkpoints."""
    return ticked(
        POST,
        "Clean up temp files (checkpoints, logs)",
        not left,
        f"checkpoints are left in .luna/checkpoints: {', '.join(left)}"
        if left
        else "no checkpoint is left",
    )


def left_in(checkpoints: Path) -> list[str]:
    """Checkpoints that were left behind."""
    return [path.name for path in checkpoints.glob("*") if any(path.iterdir())]


def dumps(name: str, boxes: Sequence[Box]) -> str:
    """CHECKLIST.md."""
    lines = [
        f"# {name} Safety Checklist",
        "",
        "Ticked by the pipeline. Whether it is archived, tagged and where the head is: "
        f"`luna doctor --checklist {name}`, once it is sealed.",
        "",
    ]
    for section in dict.fromkeys(box.section for box in boxes):
        lines += [
            f"## {section}",
            "",
            *(
                f"- {MARKS[box.state]} {box.text}: {box.evidence}"
                for box in boxes
                if box.section == section
            ),
            "",
        ]
    return "\n".join(lines)
