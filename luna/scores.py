"""The four scores of a generation, and the name that each of them has in every file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """``name``: in scores.json, in the intervals of metrics.json, and as a clause of the rule in params.yaml.

    ``key``: under ``evaluation`` of metrics.json; ``column``: of lineage.csv, or what 'luna log --json' calls a score that the
    ledger has no column for; ``field``: of a seal's message; ``title``: for a person; ``metric``: what a model hub calls a score of
    its kind.
    """

    name: str
    key: str
    column: str
    field: str
    title: str
    metric: str
    less_is_better: bool = False

    @property
    def words(self) -> str:
        """The name within a sentence."""
        return self.name.replace("_", " ")


RECALL = Score("recall", "recall", "eval_recall", "Recall", "Recall", "accuracy")
GENERALISATION = Score(
    "generalisation",
    "generalize",
    "eval_generalize",
    "Generalization",  # in the tags of sealed generations
    "Generalisation",
    "accuracy",
)
TONE_DRIFT = Score(
    "tone_drift",
    "tone_drift",
    "eval_tone",
    "Tone-Drift",
    "Tone drift",
    "jensen-shannon-divergence",
    less_is_better=True,
)
ABILITY = Score("ability", "ability", "ability", "Ability", "Ability", "accuracy")
IN_LEDGER = (RECALL, GENERALISATION, TONE_DRIFT)
#: What is learnt comes first, what is kept of the base last.
SCORES = (*IN_LEDGER, ABILITY)
BY_NAME = {score.name: score for score in SCORES}


def shown(value: float | None) -> str:
    """A score, or a bound of one, for a person: the one rounding, in every report, table, card and message."""
    return "-" if value is None else f"{value:.3f}"


def shown_change(value: float | None) -> str:
    """How much a score has changed, rounded as the scores are."""
    return "-" if value is None else f"{value:+.3f}"
