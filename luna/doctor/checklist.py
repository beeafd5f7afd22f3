"""The safety checklist of the design, box by box, for one sealed generation: ticked by a machine, or left to the person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts
from luna.audit import ledgers, verify
from luna.audit.picture import Picture, Seal, take
from luna.errors import InputError
from luna.history import ledger
from luna.history.cold import Store
from luna.history.git import Git
from luna.names import assignment_number

DONE, OPEN, YOURS, NONE = "done", "open", "yours", "not needed"
_CHECKPOINT_STEPS = 100


@dataclass(frozen=True)
class Box:
    """``state``: done, open (a machine looked and it is not so), yours (a person's judgement), not needed."""

    section: str
    text: str
    state: str
    evidence: str


def boxes(root: Path, prefix: str, generation: str, stores: Sequence[Store]) -> list[Box]:
    """Raises InputError when there is no such generation. Reads every byte of it in ``stores``, and that of its parent."""
    picture = take(Git(root), prefix, set())
    [seal] = verify.choose(picture, [generation])
    texts = dict(zip(_FILES, picture.read([f"{seal.commit}:{path.as_posix()}" for path in _FILES]), strict=True))
    data = {path: _json(texts[path]) for path in _FILES if path.suffix == ".json"}
    rows = _rows(texts[artifacts.LEDGER])
    return [*_before(picture, root, prefix, seal, data, rows, texts, stores), *_during(data, texts), *_after(data, texts), *_promotion(picture, seal, data, rows), *_post(root, prefix, seal, rows, stores)]


_FILES = (
    artifacts.METRICS, artifacts.PREP_REPORT, artifacts.TRAIN_ARGS, artifacts.EXPORT_REPORT, artifacts.LEDGER, artifacts.DELTA_SHA256,
    artifacts.EVAL_REPORT, artifacts.MODEL_CARD, artifacts.LOSS_CURVE,
)


def _json(text: bytes | None) -> dict[str, Any]:
    try:
        return json.loads(text or b"{}")
    except ValueError:
        return {}


def _rows(text: bytes | None) -> dict[int, ledger.Row]:
    try:
        return {row.gen: row for row in ledger.loads((text or b"").decode("utf-8", "replace"))}
    except InputError:
        return {}


def _box(section: str, text: str, holds: bool, evidence: str) -> Box:
    return Box(section, text, DONE if holds else OPEN, evidence)


def _archived(root: Path, prefix: str, name: str, stores: Sequence[Store], quick: bool) -> tuple[bool, str]:
    if not stores:
        return False, "no cold storage answers"
    found = verify.verify_generation(root, prefix, name, stores, with_cache=False, quick=quick)
    names = ", ".join(store.name for store in stores)
    return not found, f"{'is there' if quick else 'every byte read back and hashed'} in {names}" if not found else found[0].sentence


def _before(picture: Picture, root: Path, prefix: str, seal: Seal, data: dict, rows: dict, texts: dict, stores: Sequence[Store]) -> list[Box]:
    section = "Before training"
    parents = ledgers.line_of(picture, seal.number)[1:2]
    prep = data[artifacts.PREP_REPORT]
    row = rows.get(seal.number)
    listed = (texts[artifacts.DELTA_SHA256] or b"").split()[:1]
    if parents:
        archived = _box(section, "Parent generation archived (immutable)", *_archived(root, prefix, parents[0].name, stores, quick=True))
        logged = _box(section, "Parent metrics logged (lineage.csv)", parents[0].number in rows, f"the row of {parents[0].name}")
    else:
        archived, logged = (Box(section, text, NONE, "it is the ancestor") for text in ("Parent generation archived (immutable)", "Parent metrics logged (lineage.csv)"))
    return [
        archived, logged,
        _box(section, "New generation directory created", picture.tags.get(seal.name) == seal.object, f"the tag {seal.name} is its directory"),
        _box(section, "Training data prepared (new + replay)", "total_training_examples" in prep, f"{prep.get('new_conversations', '?')} new, {prep.get('replay_samples', '?')} replayed"),
        _box(section, "Data delta hashed (SHA-256)", bool(row and listed and listed[0].decode() == row.data_delta_sha256), "data_delta.sha256 is the ledger's" if row else "no row"),
    ]


def _during(data: dict, texts: dict) -> list[Box]:
    section = "During training"
    args = data[artifacts.TRAIN_ARGS]
    steps = (args.get("settings") or {}).get("save_steps")
    untaught = not args.get("training_steps")
    memory = args.get("peak_memory_bytes")
    return [
        Box(section, "Checkpoint every 100 steps (rollback points)", NONE, "nothing was trained") if untaught else _box(section, "Checkpoint every 100 steps (rollback points)", isinstance(steps, int) and 0 < steps <= _CHECKPOINT_STEPS, f"every {steps} steps"),
        Box(section, "Monitor loss (catch divergence early)", NONE, "nothing was trained") if untaught else Box(section, "Monitor loss (catch divergence early)", YOURS if texts[artifacts.LOSS_CURVE] else OPEN, f"look at the curve ('dvc plots show'): {args.get('loss_start', 0):.2f} to {args.get('loss_final') or 0:.2f}" if texts[artifacts.LOSS_CURVE] else "no loss curve was kept"),
        Box(section, "Resource monitoring (VRAM, disk space)", NONE, "nothing was trained") if untaught else _box(section, "Resource monitoring (VRAM, disk space)", bool(memory), f"peak {memory / 1e9:.1f} GB on {args.get('device')}" if memory else "no peak was recorded"),
    ]


def _after(data: dict, texts: dict) -> list[Box]:
    section = "After training"
    scores = data[artifacts.METRICS].get("evaluation", {})
    evolution = data[artifacts.EXPORT_REPORT].get("evolution", {})
    three = [scores.get(key) for key in ("recall", "generalize", "tone_drift")]
    return [
        _box(section, "Run 3 evals (recall, generalization, tone)", None not in three, ", ".join("-" if value is None else f"{value:.3f}" for value in three)),
        _box(section, "Track weight evolution (checksum diff)", "changed_layers" in evolution, f"{evolution.get('changed_layers')} of {evolution.get('total_layers')} tensors changed"),
        _box(section, "Save metrics.json (objective scores)", bool(data[artifacts.METRICS]), "sealed in git"),
        _box(section, "Generate EVAL.md (human-readable)", bool(texts[artifacts.EVAL_REPORT]), "sealed in git; reading it is yours"),
        _box(section, "Create MODEL_CARD.md (one-pager)", bool(texts[artifacts.MODEL_CARD]), "sealed in git"),
    ]


def _promotion(picture: Picture, seal: Seal, data: dict, rows: dict) -> list[Box]:
    section = "Promotion decision"
    decision = data[artifacts.METRICS].get("decision", {})
    passed = seal.fields.get("Verdict") == "promoted"
    row = rows.get(seal.number)
    moved = [entry.tag for entry in picture.entries if assignment_number(entry.tag) is not None and entry.commit == seal.commit]
    agreed = row is not None and row.promoted == passed == decision.get("promoted_to_head")
    success, failure = "If PASS: Update HEAD, archive, log ledger", "If FAIL: Keep HEAD at parent, mark gen as failed"
    return [
        _box(section, "Check promotion rule (objective criteria)", agreed, decision.get("notes", "no decision")),
        _box(section, success, agreed and bool(moved), f"{', '.join(moved) or 'no move of the head is recorded'}; the ledger says promoted") if passed else Box(section, success, NONE, "the rule denied it"),
        Box(section, failure, NONE, "the rule passed it") if passed else _box(section, failure, agreed and not moved, "the head never was at it; the ledger says denied"),
    ]


def _post(root: Path, prefix: str, seal: Seal, rows: dict, stores: Sequence[Store]) -> list[Box]:
    there = _archived(root, prefix, seal.name, stores, quick=True)
    whole = _archived(root, prefix, seal.name, stores, quick=False)
    left = [path.name for path in (root / artifacts.SCRATCH / "checkpoints").glob("*") if any(path.iterdir())] if (root / artifacts.SCRATCH / "checkpoints").is_dir() else []
    return [
        _box("Promotion decision", "Archive generation (immutable, regardless of pass/fail)", *there),
        _box("Post-generation", "Verify archive integrity (SHA-256 match)", *whole),
        _box("Post-generation", "Update lineage.csv (append new row)", seal.number in rows, f"row of generation {seal.number}"),
        Box("Post-generation", "Check maturity detector (approaching plateau?)", YOURS, "judge by 'luna log': scores and weight change of the last generations"),
        _box("Post-generation", "Clean up temp files (checkpoints, logs)", not left, f"checkpoints are left in .luna/checkpoints: {', '.join(left)}" if left else "no checkpoint is left"),
    ]
