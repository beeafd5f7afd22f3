"""All checks of `luna doctor` in the order of printing; a new check is one function here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from luna.doctor import clone, environment, remotes
from luna.doctor.check import BAD, Check

CHECKS: list[Callable[[Path], Iterator[Check]]] = [
    environment.versions,
    environment.converter,
    environment.preflight,
    clone.setup,
    clone.dangerous_gc,
    remotes.configuration,
    remotes.reachable,
    remotes.second_copy,
]


def examine(root: Path) -> list[Check]:
    """Every check, also when one of them fails for a reason that it did not foresee."""
    results: list[Check] = []
    for check in CHECKS:
        try:
            results += check(root)
        except Exception as error:  # the other checks are still worth hearing
            results.append(
                Check(
                    check.__name__,
                    BAD,
                    f"this check itself failed: {type(error).__name__}: {error}",
                    "report it",
                )
            )
    return results
