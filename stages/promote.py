"""The promote stage: applies the rule, writes metrics, reports, hashes and the ledger's row."""

import json
from pathlib import Path

from evals import transfer
from luna import artifacts, files, hashes, ledger, params, stage
from luna.history import build as builds
from luna.history import past
from luna.history.line import artifact, outs_at
from luna.model import base
from luna.names import GenerationName
from luna.promotion import (
    advice,
    checklist,
    compare,
    front_matter,
    maturity,
    metrics,
    reports,
    rule,
    untaught,
)
from luna.repo.git import Git

ROOT = Path()


def listing() -> str:
    """hashes.csv of the artifact set."""
    paths = [
        path
        for entry in artifacts.HASHED
        for path in (
            sorted(path for path in entry.rglob("*") if path.is_file())
            if entry.is_dir()
            else [entry]
        )
    ]
    return hashes.dumps(
        (path.as_posix(), path.stat().st_size, files.digest(path)) for path in paths
    )


def boxes(
    parts: dict, document: dict, rows: list[ledger.Row], number: int, parent: GenerationName | None
) -> list[checklist.Box]:
    """What this generation's own files tick; EVAL.md and MODEL_CARD.md are written by now."""
    by_number = {row.gen: row for row in rows}
    decision = document["decision"]
    return [
        checklist.logged(
            str(parent) if parent else None, parent is not None and parent.number in by_number
        ),
        checklist.prepared(parts["prep"]),
        checklist.hashed(
            artifacts.DELTA_SHA256.read_text(encoding="utf-8").split()[0],
            by_number[number].data_delta_sha256,
        ),
        *checklist.during(parts["train"], artifacts.LOSS_CURVE.exists()),
        *checklist.after(
            document, parts["export"], artifacts.EVAL_REPORT.exists(), artifacts.MODEL_CARD.exists()
        ),
        checklist.ticked(
            checklist.PROMOTION,
            "Check promotion rule (objective criteria)",
            True,
            f"{'promoted' if decision['promoted_to_head'] else 'denied'}: {decision['notes']}",
        ),
        checklist.appended(number, True),
        checklist.cleaned(checklist.left_in(artifacts.CHECKPOINTS)),
    ]


def of_parent(build: builds.Build, path: Path) -> Path:
    """An artifact of the parent."""
    return artifact(ROOT, build.parent, path, build.ancestors[-1].commit)


def has(build: builds.Build, path: Path) -> bool:
    """Whether the parent has an artifact; one that was sealed by an earlier version may not."""
    return path.as_posix() in outs_at(ROOT, build.parent, build.ancestors[-1].commit)


def advise(
    parts: dict, decision: rule.Decision, answers: list[dict], probes_per_kind: int
) -> advice.Advice | None:
    """What would help a generation that was denied."""
    recall, tone = (parts["scores"][name]["details"] or {} for name in ("recall", "tone_drift"))
    return advice.advise(
        advice.Denied(
            decision.verdicts, parts["train"], parts["prep"], answers, recall, tone, probes_per_kind
        )
    )


def main() -> None:
    """Run the stage."""
    settings = params.sections("promotion", "maturity", "generation", "base", "data")
    build = builds.of_stage(ROOT, settings)
    name = settings.generation.identity
    first = settings.generation.is_ancestor
    parts = {
        "prep": files.read_json(artifacts.PREP_REPORT),
        "train": files.read_json(artifacts.TRAIN_ARGS),
        "export": files.read_json(artifacts.EXPORT_REPORT),
        "scores": files.read_json(artifacts.SCORES),
        "eval_args": files.read_json(artifacts.EVAL_ARGS),
    }
    answers = files.read_jsonl(artifacts.ANSWERS)
    parent = flips = None
    of_base: dict[str, float] = {}
    if not first:
        parent = json.loads(of_parent(build, artifacts.METRICS).read_text(encoding="utf-8"))
        before = files.read_jsonl(of_parent(build, artifacts.ANSWERS))
        flips = compare.flips(answers, before)
        if len(build.ancestors) == 1:  # the parent is the base itself
            of_base = untaught.scores(answers, before)
    regressions = (
        {kind: flips.regression(kind) for kind in ("recall", "generalisation")}
        if flips and flips.common
        else {}
    )
    if not first and has(build, artifacts.ABILITY):
        before = files.read_jsonl(of_parent(build, artifacts.ABILITY))
        regressions |= compare.of_ability(files.read_jsonl(artifacts.ABILITY), before)
    decision = rule.decide(
        parts["scores"],
        settings.promotion,
        first,
        regressions,
        parts["train"].get("stopped"),
        of_base,
        parts["prep"]["new_conversations"] + parts["prep"].get("held_out", 0),
    )
    most = settings.data.probes_per_kind
    advised = None if decision.promoted else advise(parts, decision, answers, most)

    matrix = (
        []
        if first
        else transfer.loads(of_parent(build, artifacts.RECALL_MATRIX).read_text(encoding="utf-8"))
    )
    matrix += transfer.row(
        name.number, (parts["scores"]["recall"]["details"] or {}).get("by_generation", {})
    )
    files.write_text(artifacts.RECALL_MATRIX, transfer.dumps(matrix))
    document = metrics.build(
        name,
        settings.generation.parent_name,
        parts,
        decision,
        transfer.backward_transfer(matrix, name.number),
        of_base,
        advised,
    )
    weights, tokenizer = files.digest(artifacts.MODEL), files.digest(artifacts.TOKENIZER)
    files.write_json(artifacts.METRICS, document)
    # The ledger as it was sealed and this generation's row, whatever the workspace's file says.
    row = metrics.ledger_row(document, weights, tokenizer)
    text = builds.past_ledger(ROOT, build) + ledger.dumps_row(row)
    rows = ledger.loads(text)
    commits = {GenerationName.parse(one.name).number: one.commit for one in build.ancestors}
    by, own = past.judged(Git(ROOT), commits), document["evaluation"]
    grown = maturity.of_generation(
        rows,
        name.number,
        settings.maturity,
        by.measures | {name.number: own["method"]},
        by.kept | {name.number: own["ability"]},
    )
    files.write_text(
        artifacts.EVAL_REPORT,
        reports.evaluation(document, decision, answers, flips, parts["export"], grown, advised),
    )
    shown = {"Model": weights, "Data delta": document["data"]["data_delta_sha256"]}
    hub_id, licence = base.origin(settings.base)
    card = reports.model_card(
        document,
        parent,
        decision,
        flips,
        shown,
        Path(settings.base.source).name if hub_id is None else hub_id,
        grown,
    )
    files.write_text(
        artifacts.MODEL_CARD,
        f"{front_matter.front_matter(document, hub_id, licence, parts['export']['quantization'])}\n{card}",
    )
    files.write_text(artifacts.WEIGHTS_SHA256, f"{weights}  {artifacts.MODEL.as_posix()}\n")
    files.write_text(
        artifacts.CHECKLIST,
        checklist.dumps(
            str(name), boxes(parts, document, rows, name.number, settings.generation.parent_name)
        ),
    )
    files.write_text(artifacts.HASHES, listing())
    files.write_text(artifacts.LEDGER, text)
    print(
        f"promote: {name.short} {'PROMOTED' if decision.promoted else 'DENIED'} - {decision.notes}"
    )


if __name__ == "__main__":
    stage.run("promote", main)
