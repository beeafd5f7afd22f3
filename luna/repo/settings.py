"""params.yaml for commands that look or mend: where it is spoiled, the last commit's is taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, params, sealed_parameters
from luna.errors import InputError
from luna.params import Params
from luna.repo.git import Git

RESTORE = f"git restore --source=HEAD --staged --worktree {artifacts.PARAMS}"


@dataclass(frozen=True)
class Settings:
    """params.yaml of the workspace, and what is wrong with it.

    ``wrong``: what is wrong (None: nothing); ``gone``: it is missing or empty; ``committed``: it equals the last commit's.
    """

    values: Params
    wrong: str | None = None
    gone: bool = False
    committed: bool = False

    @property
    def remedy(self) -> str | None:
        """The next step where the file cannot be read."""
        if self.wrong is None:
            return None
        if self.committed:
            return f"correct {artifacts.PARAMS}"
        return RESTORE if self.gone else f"correct {artifacts.PARAMS}, or '{RESTORE}'"


def read(root: Path) -> Settings:
    """The settings of the workspace; where they cannot be read, those of the last commit, and why.

    Nothing may be built by the second kind: commands that build use ``params.load``, which raises.
    Raises InputError where no commit has settings either.
    """
    try:
        return Settings(params.load(root))
    except InputError as error:
        text = Git(root).show("HEAD", artifacts.PARAMS)
        if text is None:
            raise
        path = root / artifacts.PARAMS
        gone = not path.exists() or (path.is_file() and not path.stat().st_size)
        wrong = f"{artifacts.PARAMS} is missing" if gone else str(error).rstrip(".")
        values = sealed_parameters.parse(text, f"{artifacts.PARAMS} of the last commit")
        return Settings(values, wrong, gone, path.is_file() and path.read_bytes() == text)


def standing(root: Path) -> Params:
    """The values alone, for what only needs the line's prefix and its stores."""
    return read(root).values
