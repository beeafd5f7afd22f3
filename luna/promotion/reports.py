"""Writes EVAL.md and MODEL_CARD.md: the numbers for a person, verdict first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from luna.promotion import general
from luna.promotion.advice import Advice
from luna.promotion.cell import as_cell
from luna.promotion.compare import Flips
from luna.promotion.maturity import Maturity
from luna.promotion.rule import Decision
from luna.scores import BY_NAME, SCORES, shown, shown_change

WORST = 5
_LISTED = 10


def _verdict(metrics: Mapping[str, Any]) -> str:
    decision = metrics["decision"]
    return (
        f"✅ **PROMOTED TO HEAD** ({decision['notes']})"
        if decision["promoted_to_head"]
        else f"❌ **DENIED** ({decision['notes']}); HEAD stays where it is"
    )


def _clauses(metrics: Mapping[str, Any], decision: Decision) -> list[str]:
    rows = [
        "| Clause | Value | 95 % interval | Probes | Bound | Verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for verdict in decision.verdicts:
        interval = metrics["evaluation"]["intervals"][verdict.clause]
        mark = (
            "– " + verdict.reason
            if not verdict.counted
            else "❌ " + verdict.reason
            if not verdict.passed
            else "⚠ " + verdict.warning
            if verdict.warning
            else "✅"
        )
        rows.append(
            f"| **{BY_NAME[verdict.clause].title}** | {shown(verdict.value)} | {shown(interval['low'])} to {shown(interval['high'])} | {interval['n']} | {verdict.bound} | {mark} |"
        )
    return rows


def _early(metrics: Mapping[str, Any]) -> str:
    """Why training ended, and what became of it."""
    stopped, known = (metrics["training"].get(key) for key in ("stopped", "known"))
    if not stopped and known is None:
        return ""
    if not stopped:
        short = metrics["training"].get("ended") == "ceiling"
        return f"; {known:.0%} of a sample of what was taught was known in the end" + (
            " (the most steps were made before it was enough)" if short else ""
        )
    return f"; ended early: {stopped['why']}" + (
        "; its result is discarded, and the parent's own weights were examined"
        if stopped["failed"]
        else ""
    )


def _left_out(count: int) -> list[str]:
    if not count:
        return []
    taught = "1 reply was" if count == 1 else f"{count} replies were"
    return [
        "",
        f"{taught} neither taught nor asked for: too long for train.max_seq_length with the question.",
    ]


def _question(row: Mapping[str, Any]) -> str:
    return as_cell(row["messages"][-1][1])


def worst(answers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Wrong answers: her own words before choices among replies, one for each conversation first, so that one lost fact does not fill the list."""
    wrong = sorted(
        (row for row in answers if not row["correct"]), key=lambda row: bool(row.get("distractors"))
    )
    first = {row["conversation"]: row for row in reversed(wrong)}
    return sorted(wrong, key=lambda row: first[row["conversation"]] is not row)[:WORST]


def _advised(advice: Advice) -> str:
    return f"{replace(advice, questions=tuple(map(as_cell, advice.questions))).sentence}."


def evaluation(
    metrics: Mapping[str, Any],
    decision: Decision,
    answers: Sequence[Mapping[str, Any]],
    flips: Flips | None,
    fidelity: Mapping[str, Any],
    maturity: Maturity,
    advice: Advice | None = None,
) -> str:
    """EVAL.md: the verdict, the scores, what would help and what changed."""
    generation, data, scores, evolution = (
        metrics["generation"],
        metrics["data"],
        metrics["evaluation"],
        metrics["evolution"],
    )
    lines = [
        f"# Generation {generation['id']} Evaluation",
        "",
        _verdict(metrics),
        "",
        "## Eval Results",
        "",
        *_clauses(metrics, decision),
        "",
        f"Recall of what was taught now: {shown(scores['recall_new'])}; of what earlier generations were taught: {shown(scores['recall_old'])}; backward transfer: {shown(scores['backward_transfer'])}.",
        *_left_out(scores.get("left_out", 0)),
        *general.lines(scores.get("general")),
        "",
        *(["## What to change", "", _advised(advice), ""] if advice else []),
        "## Lineage and data",
        "",
        f"- **Parent**: {generation['parent']}",
        f"- **Training data**: {data['new_conversations']} new conversations, {data['replay_samples']} replayed",
        f"- **Training time**: {metrics['training']['walltime_minutes']:.1f} minutes, {metrics['training']['steps']} steps{_early(metrics)}",
        "",
        "## Weight Evolution",
        "",
        f"- **Changed layers**: {evolution['changed_layers']}/{evolution['total_layers']} ({evolution['weight_change_percent']:g} %; a layer counts when ||dW||/||W|| is above {evolution['threshold']:g})",
        f"- **Status**: {maturity.sentence}",
        f"- **Export**: next token as base + adapter says in {fidelity['fidelity_16_bit']['agreement']:.1%} (16 bits) and {fidelity['fidelity_quantised']['agreement']:.1%} (as shipped) of positions",
        "",
        f"## The {WORST} worst answers",
        "",
    ]
    bad = worst(answers)
    if bad:
        lines += ["| Kind | Question | Expected | Answered |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {row['kind']} | {_question(row)} | {as_cell(' / '.join(row['expect']) or row['reference'])} | {as_cell(row['text']) or '(nothing)'} |"
            for row in bad
        ]
    else:
        lines.append("Every probe was answered rightly.")
    lines += ["", "## Since the parent", ""]
    if flips is not None and flips.by_another_measure:
        lines += [
            f"{flips.by_another_measure} answers of the parent were marked by another measure than this exam's, and are not compared.",
            "",
        ]
    if flips is None or not flips.common:
        lines.append("There is no probe that was asked of both and marked in the same way.")
    else:
        lines.append(
            f"Of {flips.common} probes asked of both, {len(flips.won)} became right and {len(flips.lost)} became wrong."
        )
        for title, rows in (("Lost", flips.lost), ("Won", flips.won)):
            lines += (
                [
                    "",
                    f"**{title}**",
                    "",
                    *(f"- {_question(row)} → {as_cell(row['text'])}" for row in rows[:_LISTED]),
                ]
                if rows
                else []
            )
            lines += (
                [f"- and {len(rows) - _LISTED} more, in answers.jsonl"]
                if len(rows) > _LISTED
                else []
            )
    lines += [
        "",
        "## How this was measured",
        "",
        "Greedy answers of the exported file through llama.cpp. An answer is right when it contains an accepted answer as whole words, "
        "or, where none is given, when it says what is new in a taught reply and nothing that contradicts it. Generalisation asks paraphrases that were never trained on; of held-out "
        "conversations without one, the true reply must be found among distractors by mean log-likelihood, counted above chance. Tone drift is the "
        "Jensen-Shannon divergence of style features between answers and reference replies, less what the reference differs from itself. Ability "
        "asks the general questions of evals/ability that the base answers rightly.",
        *([f"The measures: {scores['method']}."] if scores.get("method") else []),
        "",
    ]
    return "\n".join(lines)


def _depths(depths: Sequence[int]) -> str:
    return f"; by depth: layers {', '.join(map(str, depths))}" if depths else ""


def _delta(
    now: float | None, before: float | None, same_measure: bool, less_is_better: bool = False
) -> str:
    if not same_measure and before is not None:
        return f"{shown(now)} (parent: {shown(before)}, by another measure: they do not compare)"
    if now is None or before is None:
        return f"{shown(now)} (parent: {shown(before)})"
    change = now - before
    mark = "" if not round(change, 3) else " ✅" if (change < 0) == less_is_better else " ⚠"
    return f"{shown(now)} (parent: {shown(before)}) → {shown_change(change)}{mark}"


def model_card(
    metrics: Mapping[str, Any],
    parent: Mapping[str, Any] | None,
    decision: Decision,
    flips: Flips | None,
    hashes: Mapping[str, str],
    base: str,
    maturity: Maturity,
) -> str:
    """The model card of the generation: numbers and hashes, no word of a conversation, since a card is what people pass on."""
    generation, data, training, scores, evolution = (
        metrics[key] for key in ("generation", "data", "training", "evaluation", "evolution")
    )
    before = parent["evaluation"] if parent else {}
    same = before.get("method") == scores.get("method")
    parent_name = parent["generation"]["name"] if parent else f"base ({base})"
    trend = (
        maturity.trend.words
        if maturity.trend
        else "too few generations for one"
        if parent
        else "the first of its line"
    )
    trend += (
        f"; the parent changed {parent['evolution']['weight_change_percent']:g} %" if parent else ""
    )
    stopped = training.get("stopped")
    risks = [f"Training ended early: {stopped['why']}"] if stopped else []
    risks += [
        verdict.warning or verdict.reason
        for verdict in decision.verdicts
        if verdict.warning or not verdict.passed
    ]
    lost = len(flips.lost) if flips else 0
    lines = [
        f"# {generation['name']} Model Card",
        "",
        "## Lineage",
        "",
        f"- **Parent**: {parent_name}",
        f"- **Born**: {generation['timestamp']}",
        f"- **Karma**: {data['karma']:g}, earned through {data['new_conversations']} conversations",
        "",
        "## Training Delta",
        "",
        f"- **New data**: {data['new_conversations']} conversations",
        f"- **Replay**: {data['replay_samples']} samples of the ancestors' data",
        f"- **Total examples**: {data['total_training_examples']}",
        f"- **Training steps**: {training['steps']}",
        f"- **Walltime**: {training['walltime_minutes']:.1f} minutes",
        "",
        "## Evaluation Deltas",
        "",
        *(
            f"- **{score.title}**: {_delta(scores.get(score.key), before.get(score.key), same, score.less_is_better)}"
            for score in SCORES
        ),
        *general.card(scores.get("general")),
        "",
        "## Weight Evolution",
        "",
        f"- **Changed**: {evolution['changed_layers']}/{evolution['total_layers']} layers ({evolution['weight_change_percent']:g} %; above {evolution['threshold']:g} of the parent's norm)",
        f"- **Change and drift**: {evolution['relative_change']:.4f} of the parent's norm; {evolution['total_drift']:.4f} away from the base",
        f"- **Most evolved**: {', '.join(evolution['most_evolved']) or 'nothing'}{_depths(evolution['most_evolved_depths'])}",
        f"- **Trend**: {trend}",
        f"- **Maturity**: {maturity.sentence}",
        "",
        "## Known Issues & Risks",
        "",
        *(f"- {risk}" for risk in risks or ["None found by the rule"]),
        "",
        "## Known Regressions",
        "",
        f"- {lost} of {flips.common} probes asked of both became wrong; EVAL.md has them"
        if flips and lost
        else "- None detected",
        "",
        "## Commit Hash",
        "",
        *(f"- **{title}**: `{value}`" for title, value in hashes.items()),
        f"- **Archive**: the DVC remote, at the tag {generation['name']}",
        "",
        "## Promotion Decision",
        "",
        _verdict(metrics),
        "",
    ]
    return "\n".join(lines)
