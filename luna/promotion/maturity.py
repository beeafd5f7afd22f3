"""The rule of maturity: whether a line has stopped growing, and its trend.

It judges the way of training as much as the model: much new data or a high learning rate move weights, however
mature she is. So it is a remark for people, and never a clause of the promotion rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from luna.ledger import Row, descent
from luna.params import Maturity as Rule
from luna.scores import IN_LEDGER, shown_change

State = Literal["not enough generations", "growing", "approaching", "mature"]
_LEAST_FOR_A_TREND = 3  # two points always lie on a line
_CLEAR = 2.0  # a slope this many standard errors from 0 is a trend, else it may be chance


@dataclass(frozen=True)
class MaturityStep:
    """One promoted generation.

    ``weight_change`` is in percent. ``gain`` is its best gain in any score over its parent, a fraction; a falling tone
    drift is a gain; None where no score was measured in both, or by another measure (``by_another_measure``). ``lost`` is how
    much less of the base it has kept than its parent; None where that was not measured in both.
    """

    gen: int
    weight_change: float
    gain: float | None
    still: bool
    by_another_measure: bool = False
    lost: float | None = None


@dataclass(frozen=True)
class Trend:
    """Least squares over the promoted generations: change of the weight change for each, in percentage points, with its standard error."""

    slope: float
    error: float
    of: int

    @property
    def words(self) -> str:
        """The trend, for a person."""
        if abs(self.slope) <= _CLEAR * self.error or not self.slope:
            return f"no clear trend ({self.slope:+.2f} points a generation, give or take {self.error:.2f})"
        return f"{'falling' if self.slope < 0 else 'rising'} by {abs(self.slope):.2f} points a generation (give or take {self.error:.2f})"


@dataclass(frozen=True)
class Maturity:
    """``streak`` is how many of the newest promoted generations in a row stood still; the rule asks for ``needed``."""

    state: State
    streak: int
    needed: int
    steps: list[MaturityStep]
    trend: Trend | None
    rule: Rule

    @property
    def sentence(self) -> str:
        """The verdict, for a person."""
        if self.state == "not enough generations":
            return f"not enough generations to tell: {len(self.steps)} taught and promoted, the rule asks for {self.needed}"
        newest = self.steps[-1]
        gain = (
            "scores by another measure than its parent's, which do not compare"
            if newest.by_another_measure
            else "a score gain that could not be measured"
            if newest.gain is None
            else f"a score gain of {shown_change(newest.gain)}"
        )
        newest_change = (
            f"G{newest.gen:03d} changed {newest.weight_change:g} % of the weights with {gain}"
        )
        if newest.lost is not None and newest.lost > self.rule.score_gain:
            newest_change += f", and lost {newest.lost:.3f} of what the base could do"
        still = f"{self.streak} of the {self.needed} generations in a row that the rule asks for stood still"
        if self.state == "mature":
            return f"mature: the newest {self.streak} promoted generations stood still ({newest_change}); more of the same will change little"
        return f"{self.state}: {still} ({newest_change})"

    def as_json(self) -> dict[str, Any]:
        """The verdict as 'luna maturity --json' prints it."""
        return {
            "state": self.state,
            "sentence": self.sentence,
            "streak": self.streak,
            "needed": self.needed,
            "steps": [asdict(step) for step in self.steps],
            "trend": asdict(self.trend) | {"words": self.trend.words} if self.trend else None,
            "rule": self.rule.model_dump(),
        }


def own_line(rows: Iterable[Row], newest: int) -> list[Row]:
    """The ledger's rows of a generation and its ancestors, oldest first, as far back as they can be followed."""
    by_gen = {row.gen: row for row in rows}
    parents = {row.gen: row.parent for row in by_gen.values()}
    return [by_gen[gen] for gen in reversed(descent(parents, newest))]


def judge(
    line: Sequence[Row],
    rule: Rule,
    measures: Mapping[int, str | None] | None = None,
    kept: Mapping[int, float | None] | None = None,
) -> Maturity:
    """``line`` as of ``own_line``. The ancestor, which was taught nothing, counts only as what its child is compared with.

    ``measures``: by which measures each generation was judged; scores of different ones give no gain. ``kept``: each
    generation's ability; one that loses more of it than ``score_gain`` does not stand still.
    """
    by = measures or {}
    abilities = kept or {}
    steps = []
    for before, row in zip(line, line[1:], strict=False):
        if row.promoted:
            other = by.get(before.gen) != by.get(row.gen)
            gain = None if other else _gain(before, row)
            had, has = abilities.get(before.gen), abilities.get(row.gen)
            lost = None if had is None or has is None else round(had - has, 6)
            steps.append(
                MaturityStep(
                    row.gen,
                    row.weight_change,
                    gain,
                    row.weight_change <= rule.weight_change_percent
                    and gain is not None
                    and gain <= rule.score_gain
                    and (lost is None or lost <= rule.score_gain),
                    other,
                    lost,
                )
            )
    streak = 0
    while streak < len(steps) and steps[-1 - streak].still:
        streak += 1
    state: State = "growing"
    if len(steps) < rule.generations:
        state = "not enough generations"
    elif streak >= rule.generations:
        state = "mature"
    elif streak:
        state = "approaching"
    return Maturity(
        state, streak, rule.generations, steps, _trend([step.weight_change for step in steps]), rule
    )


def _gain(before: Row, now: Row) -> float | None:
    gains = [
        old - new if score.less_is_better else new - old
        for score in IN_LEDGER
        if (old := getattr(before, score.column)) is not None
        and (new := getattr(now, score.column)) is not None
    ]
    return round(max(gains), 6) if gains else None


def _trend(values: Sequence[float]) -> Trend | None:
    """Ordinary least squares against the count of generations, and the slope's standard error (Draper and Smith, Applied Regression Analysis, 1.4)."""
    n = len(values)
    if n < _LEAST_FOR_A_TREND:
        return None
    middle, mean = (n - 1) / 2, sum(values) / n
    spread = sum((x - middle) ** 2 for x in range(n))
    slope = sum((x - middle) * (y - mean) for x, y in enumerate(values)) / spread
    residual = sum((y - mean - slope * (x - middle)) ** 2 for x, y in enumerate(values))
    return Trend(slope, math.sqrt(residual / (n - 2) / spread), n)


def of_generation(
    rows: Sequence[Row],
    gen: int,
    rule: Rule,
    measures: Mapping[int, str | None] | None = None,
    kept: Mapping[int, float | None] | None = None,
) -> Maturity:
    """For the card of a generation: judged along its own line; a denied one itself does not count."""
    return judge(own_line(rows, gen), rule, measures, kept)
