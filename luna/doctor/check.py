"""The result of one check of `luna doctor`."""

from __future__ import annotations

from dataclasses import dataclass

GOOD = "good"
WARNING = "warning"  # a promise may be broken one day
BAD = "bad"  # something does not work, or a promise is already open


@dataclass(frozen=True)
class Check:
    """``mend`` is the command or the deed that makes it good; empty for good ones."""

    name: str
    state: str
    detail: str
    mend: str = ""
