"""Confidence intervals and tests for proportions of a few dozen to a few hundred items."""

from __future__ import annotations

from math import comb, sqrt

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def wilson(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval (Wilson 1927), which stays honest for few items and at 0 and 1."""
    if not n:
        return 0.0, 1.0
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def above_chance(correct: int, n: int, replies: int) -> float:
    """Of ``n`` choices among ``replies``: 0 is guessing or worse, 1 is always right."""
    chance = 1 / replies
    return max(0.0, (correct / n - chance) / (1 - chance))


def mcnemar(lost: int, won: int) -> float:
    """One-sided exact p-value (McNemar 1947) that the child is worse: ``lost`` right before and wrong now, ``won`` the reverse."""
    n = lost + won
    return sum(comb(n, k) for k in range(lost, n + 1)) / 2**n if n else 1.0
