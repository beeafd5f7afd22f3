"""How many probes a verdict must rest on, from how much there was to learn.

With 8 of 8 right the 95 % interval (Wilson) begins at 0.68, with 20 of 20 at 0.84: below 8 even a perfect result says
little, and a set that can give no more than 8 should still be judged. The interval beside each score says how sure it is.
"""

from __future__ import annotations

from luna.params import Auto

LEAST, MOST = 8, 20
LEAST_GENERAL = 20  # general questions that the base answers rightly, below which nothing can be told of what was kept
_SHARE = 0.1  # of the conversations: as many can be held out for the exam and all others be taught


def needed(setting: int | Auto, conversations: int) -> int:
    """Probes of each score, at least. ``conversations``: taught and held out by the generation that is judged."""
    if setting != "auto":
        return setting
    return min(MOST, max(LEAST, int(_SHARE * conversations)))
