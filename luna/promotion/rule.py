"""The promotion rule: each clause with its value, its bound and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from luna.params import Clause, Promotion
from luna.promotion import size
from luna.scores import ABILITY, IN_LEDGER, Score, shown

REGRESSION_P = 0.05  # a loss against the parent that chance explains this rarely is a regression


class Fault(StrEnum):
    """Why a clause does not hold."""

    FEW = "too few probes"
    UNMEASURED = "not measured"
    BLIND = "the untaught base passes too"
    BOUND = "beyond the bound"
    INTERVAL = "not certain enough"
    REGRESSION = "worse than the parent"


@dataclass(frozen=True)
class Verdict:
    """What one clause of the rule says.

    ``value`` is None where there is no score, be it that the exam cannot tell taught from untaught; ``limit`` is what
    it must reach, ``lacking`` how many more probes it needs. ``counted`` is False where nothing could be told, so that it
    decides nothing.
    """

    clause: str
    value: float | None
    bound: str
    passed: bool
    reason: str
    warning: str | None = None
    fault: Fault | None = None
    limit: float | None = None
    lacking: int = 0
    counted: bool = True


@dataclass(frozen=True)
class Decision:
    """What the rule says in all."""

    promoted: bool
    verdicts: list[Verdict]
    notes: str


def decide(
    scores: Mapping[str, Mapping[str, Any]],
    rule: Promotion,
    is_ancestor: bool,
    regressions: Mapping[str, float] | None = None,
    stopped: Mapping[str, Any] | None = None,
    untaught: Mapping[str, float] | None = None,
    conversations: int = 0,
) -> Decision:
    """All clauses must hold, and training must not have failed. Generation 0 is promoted whatever it scores: a line needs an ancestor.

    ``scores`` as in scores.json; ``regressions``: one-sided McNemar p against the parent by score name;
    ``stopped`` as in train_args.json: why training ended early, if it did. ``conversations``: how many were taught and
    held out, which says how many probes are needed (luna.promotion.size). ``untaught``: what the untaught base scores
    in the same exam (luna.promotion.untaught); a minimum that it reaches shows nothing.
    """
    verdicts = [
        _judge(
            score,
            scores[score.name],
            getattr(rule, score.name),
            size.needed(rule.min_probes, conversations),
            (regressions or {}).get(score.name),
            (untaught or {}).get(score.name),
        )
        for score in IN_LEDGER
    ]
    if rule.ability is not None and ABILITY.name in scores:
        p = (regressions or {}).get(ABILITY.name)
        verdicts.append(_judge_ability(scores[ABILITY.name], rule.ability, p))
    failed = [f"Training failed: {stopped['why']}"] if stopped and stopped["failed"] else []
    passed = all(verdict.passed for verdict in verdicts) and not failed
    failed += [verdict.reason for verdict in verdicts if not verdict.passed]
    warnings = [verdict.warning for verdict in verdicts if verdict.warning]
    if is_ancestor:
        notes = "The base, taught nothing yet: promoted because a line needs an ancestor"
    else:
        notes = "; ".join([*failed, *warnings]) or "All clauses hold"
    return Decision(passed or is_ancestor, verdicts, notes)


def _judge_ability(score: Mapping[str, Any], clause: Clause, p: float | None) -> Verdict:
    """Of a base that answers next to nothing of the questions nothing can be told, and a line on it goes on without the clause."""
    if score["n"] >= size.LEAST_GENERAL:
        return _judge(ABILITY, score, clause, size.LEAST_GENERAL, p, None)
    return Verdict(
        ABILITY.name,
        None,
        f">= {shown(clause.minimum)}",
        True,
        f"cannot tell: the base answers {score['n']} general questions rightly, and {size.LEAST_GENERAL} are needed, so this clause does not count",
        limit=clause.minimum,
        counted=False,
    )


def _judge(
    of: Score,
    score: Mapping[str, Any],
    clause: Clause,
    min_probes: int,
    p: float | None,
    base: float | None,
) -> Verdict:
    title = of.words.capitalize()
    value, n = score["value"], score["n"]
    least = clause.minimum is not None
    sign, limit = (">=", clause.minimum) if least else ("<=", clause.maximum)
    bound = f"{sign} {shown(limit)}"

    def fails(fault: Fault, reason: str, lacking: int = 0) -> Verdict:
        known = None if fault is Fault.BLIND else value
        return Verdict(of.name, known, bound, False, reason, None, fault, limit, lacking)

    if n < min_probes:
        few = f"{title} rests on {n} probes, too few to judge: {min_probes} are needed"
        return fails(Fault.FEW, few, min_probes - n)
    if value is None or not 0 <= value <= 1:  # a NaN is not between them
        return fails(Fault.UNMEASURED, f"{title} could not be measured", 1)
    if least and base is not None and limit and base >= limit:  # a minimum of 0 asks for nothing
        return fails(
            Fault.BLIND,
            f"{title} cannot be judged: this exam cannot tell taught from untaught, because the untaught base scores {shown(base)} in it",
        )
    if value < limit if least else value > limit:
        return fails(Fault.BOUND, f"{title} {shown(value)} is not {bound}")
    if clause.confidence is not None:
        edge = score["low"] if least else score["high"]
        if edge is None or (edge < clause.confidence if least else edge > clause.confidence):
            return fails(
                Fault.INTERVAL,
                f"{title}'s 95 % interval reaches {shown(edge)}, not {sign} {shown(clause.confidence)}",
                n,  # an interval of twice as many is narrower by a third
            )
    if clause.no_regression and p is not None and p < REGRESSION_P:
        return fails(
            Fault.REGRESSION,
            f"{title} is worse than the parent's on the same probes (McNemar p = {p:.3f})",
        )
    warning = None
    if clause.target is not None and (value < clause.target if least else value > clause.target):
        warning = (
            f"{title} {shown(value)} is short of the target {shown(clause.target)} (acceptable)"
        )
    return Verdict(
        of.name, value, bound, True, f"{title} {shown(value)} {bound}", warning, None, limit
    )
