"""metrics.json: every number of a generation in one nested document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luna.ledger import Row
from luna.names import BASE_PARENT, GenerationName
from luna.promotion.advice import Advice
from luna.promotion.rule import Decision, Fault
from luna.scores import ABILITY, GENERALISATION, RECALL, SCORES, TONE_DRIFT


def build(
    name: GenerationName,
    parent: GenerationName | None,
    parts: Mapping[str, Mapping[str, Any]],
    decision: Decision,
    transfer: float | None,
    untaught: Mapping[str, float] | None = None,
    advice: Advice | None = None,
) -> dict[str, Any]:
    """From the stages' own reports: ``parts`` has prep, train, export, scores and eval_args.

    A score that the exam cannot tell from the ``untaught`` base's is None.
    """
    blind = {verdict.clause for verdict in decision.verdicts if verdict.fault is Fault.BLIND}
    prep, train, export, scores, timing = (
        parts[key] for key in ("prep", "train", "export", "scores", "eval_args")
    )
    return {
        "generation": {
            "id": name.number,
            "parent": parent.number if parent else BASE_PARENT,
            "name": str(name),
            "timestamp": name.timestamp,
        },
        "training": {
            "steps": train["training_steps"],
            "learning_rate": train["learning_rate"],
            "batch_size": train["batch_size"],
            "gradient_accumulation": train["gradient_accumulation"],
            "walltime_minutes": train["walltime_minutes"],
            "loss_start": train["loss_start"],
            "loss_final": train["loss_final"],
            "stopped": train.get("stopped"),
            "ended": train.get("ended"),
            "known": train.get("known"),
        },
        "data": {
            key: prep[key]
            for key in (
                "new_conversations",
                "replay_samples",
                "total_training_examples",
                "karma",
                "karma_left",
                "data_delta_sha256",
                "probe_set_sha256",
            )
        },
        "evaluation": {
            **{
                score.key: None if score.name in blind else scores[score.name]["value"]
                for score in SCORES
                if score.name in scores
            },
            "intervals": {
                name: {"n": score["n"]}
                | {side: None if name in blind else score[side] for side in ("low", "high")}
                for name, score in scores.items()
            },
            "untaught": dict(untaught or {}),
            "cannot_tell": sorted(blind),
            "recall_new": (scores["recall"]["details"] or {}).get("new"),
            "recall_old": (scores["recall"]["details"] or {}).get("old"),
            "backward_transfer": transfer,
            "general": (scores.get(ABILITY.name) or {}).get("details"),
            "eval_time_minutes": timing["eval_time_minutes"],
            "method": timing.get("method"),
            "left_out": timing.get("left_out", 0),
        },
        "evolution": export["evolution"],
        "decision": {
            "passed_evals": all(verdict.passed for verdict in decision.verdicts),
            "promoted_to_head": decision.promoted,
            "notes": decision.notes,
            "advice": advice.as_json() if advice else None,
        },
    }


def ledger_row(metrics: Mapping[str, Any], weights_sha256: str, tokenizer_sha256: str) -> Row:
    """The generation's row of lineage.csv."""
    generation, training, scores = metrics["generation"], metrics["training"], metrics["evaluation"]
    return Row(
        gen=generation["id"],
        parent=generation["parent"],
        weights_sha256=weights_sha256,
        tokenizer_sha256=tokenizer_sha256,
        data_delta_sha256=metrics["data"]["data_delta_sha256"],
        steps=training["steps"],
        lr=training["learning_rate"],
        loss_final=training["loss_final"],
        eval_recall=scores[RECALL.key],
        eval_generalize=scores[GENERALISATION.key],
        eval_tone=scores[TONE_DRIFT.key],
        weight_change=metrics["evolution"]["weight_change_percent"],
        promoted=metrics["decision"]["promoted_to_head"],
        timestamp=generation["timestamp"],
    )
