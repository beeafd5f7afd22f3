"""Karma: what the waiting conversations are worth.

It is derived, never counted: the sum over all conversations that the current best's line was not
taught. So it starts from zero when a generation that learnt them all is promoted. A denied
generation uses up nothing, since its conversations are still to be learnt; and a rollback brings back
the karma of what the head that was left behind had learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna import params
from luna.history.line import read_line
from luna.operations.new import pending


@dataclass(frozen=True)
class Karma:
    """``collected`` by what waits to be learnt, ``required`` by params.yaml before an age-up; ``head`` is the current best."""

    collected: float
    required: float
    head: str | None

    @property
    def missing(self) -> float:
        """What must still be collected."""
        return max(0.0, self.required - self.collected)


def karma(root: Path) -> Karma:
    """Raises InputError for a conversation that is not valid, naming file and line."""
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    return Karma(pending(root, line).karma, settings.age_up.karma_required, line.head_name)
