"""The safety checklist of the design for one sealed generation, ticked where it can be proven."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luna import artifacts, ledger
from luna.audit import ledgers, verify
from luna.audit.picture import Picture, Seal, take
from luna.errors import InputError
from luna.names import assignment_number
from luna.promotion import checklist
from luna.promotion.checklist import BEFORE, NONE, POST, PROMOTION, YOURS, Box, ticked
from luna.repo.git import Git
from luna.storage.cold import Store


def boxes(root: Path, prefix: str, generation: str, stores: Sequence[Store]) -> list[Box]:
    """Raises InputError when there is no such generation. Reads every byte of it in ``stores``, and that of its parent."""
    picture = take(Git(root), prefix, set())
    [seal] = verify.choose(picture, [generation])
    texts = dict(
        zip(
            _FILES,
            picture.read([f"{seal.commit}:{path.as_posix()}" for path in _FILES]),
            strict=True,
        )
    )
    data = {path: _json(texts[path]) for path in _FILES if path.suffix == ".json"}
    rows = _rows(texts[artifacts.LEDGER])
    return [
        *_before(picture, root, prefix, seal, data, rows, texts, stores),
        *checklist.during(data[artifacts.TRAIN_ARGS], bool(texts[artifacts.LOSS_CURVE])),
        *checklist.after(
            data[artifacts.METRICS],
            data[artifacts.EXPORT_REPORT],
            bool(texts[artifacts.EVAL_REPORT]),
            bool(texts[artifacts.MODEL_CARD]),
        ),
        *_promotion(picture, seal, data, rows),
        *_post(root, prefix, seal, rows, stores),
    ]


_FILES = (
    artifacts.METRICS,
    artifacts.PREP_REPORT,
    artifacts.TRAIN_ARGS,
    artifacts.EXPORT_REPORT,
    artifacts.LEDGER,
    artifacts.DELTA_SHA256,
    artifacts.EVAL_REPORT,
    artifacts.MODEL_CARD,
    artifacts.LOSS_CURVE,
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


def _archived(
    root: Path, prefix: str, name: str, stores: Sequence[Store], quick: bool
) -> tuple[bool, str]:
    if not stores:
        return False, "no cold storage answers"
    findings = verify.verify_generation(root, prefix, name, stores, with_cache=False, quick=quick)
    names = ", ".join(store.name for store in stores)
    return (
        not findings,
        f"{'is there' if quick else 'every byte read back and hashed'} in {names}"
        if not findings
        else findings[0].sentence,
    )


def _before(
    picture: Picture,
    root: Path,
    prefix: str,
    seal: Seal,
    data: dict,
    rows: dict,
    texts: dict,
    stores: Sequence[Store],
) -> list[Box]:
    parents = ledgers.line_of(picture, seal.number)[1:2]
    row = rows.get(seal.number)
    listed = (texts[artifacts.DELTA_SHA256] or b"").decode().split()[:1]
    text = "Parent generation archived (immutable)"
    return [
        ticked(BEFORE, text, *_archived(root, prefix, parents[0].name, stores, quick=True))
        if parents
        else Box(BEFORE, text, NONE, "it is the ancestor"),
        checklist.logged(
            parents[0].name if parents else None, bool(parents) and parents[0].number in rows
        ),
        ticked(
            BEFORE,
            "New generation directory created",
            picture.tags.get(seal.name) == seal.object,
            f"the tag {seal.name} is its directory",
        ),
        checklist.prepared(data[artifacts.PREP_REPORT]),
        checklist.hashed(listed[0] if listed else None, row.data_delta_sha256 if row else None),
    ]


def _promotion(picture: Picture, seal: Seal, data: dict, rows: dict) -> list[Box]:
    decision = data[artifacts.METRICS].get("decision", {})
    passed = seal.fields.get("Verdict") == "promoted"
    row = rows.get(seal.number)
    moved = [
        entry.tag
        for entry in picture.entries
        if assignment_number(entry.tag) is not None and entry.commit == seal.commit
    ]
    agreed = row is not None and row.promoted == passed == decision.get("promoted_to_head")
    success, failure = (
        "If PASS: Update HEAD, archive, log ledger",
        "If FAIL: Keep HEAD at parent, mark gen as failed",
    )
    return [
        ticked(
            PROMOTION,
            "Check promotion rule (objective criteria)",
            agreed,
            decision.get("notes", "no decision"),
        ),
        ticked(
            PROMOTION,
            success,
            agreed and bool(moved),
            f"{', '.join(moved) or 'no move of the head is recorded'}; the ledger says promoted",
        )
        if passed
        else Box(PROMOTION, success, NONE, "the rule denied it"),
        Box(PROMOTION, failure, NONE, "the rule passed it")
        if passed
        else ticked(
            PROMOTION,
            failure,
            agreed and not moved,
            "the head was never at it; the ledger says denied",
        ),
    ]


def _post(root: Path, prefix: str, seal: Seal, rows: dict, stores: Sequence[Store]) -> list[Box]:
    there = _archived(root, prefix, seal.name, stores, quick=True)
    whole = _archived(root, prefix, seal.name, stores, quick=False)
    return [
        ticked(PROMOTION, "Archive generation (immutable, regardless of pass/fail)", *there),
        ticked(POST, "Verify archive integrity (SHA-256 match)", *whole),
        checklist.appended(seal.number, seal.number in rows),
        Box(
            POST,
            "Check maturity detector (approaching plateau?)",
            YOURS,
            "judge by 'luna log': scores and weight change of the last generations",
        ),
        checklist.cleaned(checklist.left_in(root / artifacts.CHECKPOINTS)),
    ]
