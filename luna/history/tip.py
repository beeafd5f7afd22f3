"""Where the line stands in this clone: its newest end, and the generation that is being built on it."""

from __future__ import annotations

from luna.errors import StateError
from luna.history.line import Line
from luna.params import Params


def building(settings: Params, line: Line) -> str | None:
    """The generation that params.yaml names and that is not sealed yet."""
    name = settings.generation.name
    return name if name and all(tag.name != name for tag in line.sealed.values()) else None


def require_tip(line: Line) -> str:
    """The branch checked out must hold the newest sealed generation. Returns the branch's full reference."""
    branch = line.git.branch()
    newest = line.sealed[max(line.sealed)].commit if line.sealed else None
    if branch is None:
        raise StateError(
            "A past generation is checked out: go back to the tip of the line with 'git switch main', then run the command again."
        )
    if line.git.resolve("HEAD") is None:
        raise StateError("The repository has no commit yet: commit Luna's files first.")
    if newest and not line.git.is_ancestor(newest, "HEAD"):
        raise StateError(
            f"This branch does not hold {line.newest}, the newest generation: merge it or switch to the branch that does, so that the line stays one."
        )
    return branch
