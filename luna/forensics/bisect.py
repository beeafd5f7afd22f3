"""Finds the generation at which an answer was lost or learnt, by binary search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from luna.errors import ColdStorageError, ExportError, InputError, LunaError, StateError
from luna.forensics.asking import Reply, ask, checked
from luna.history.line import Line

LOST, LEARNT = "lost", "learnt"
Asked = Callable[[str], None]  # called with the name of each generation before it is asked


@dataclass
class BisectResult:
    """``at`` is the first generation that answers otherwise than ``before``, its ancestor; both None when no change was found.

    ``between`` names the generations between the two that cannot be asked: the change may lie in any of them.
    """

    question: str
    expect: str
    change: str | None = None
    before: str | None = None
    at: str | None = None
    between: list[str] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    unaskable: dict[str, str] = field(default_factory=dict)


class _Asker:
    """Asks generations once, and remembers the answers and which ones cannot be asked."""

    def __init__(self, root: Path, question: str, expect: str, tell: Asked) -> None:
        from evals.facts.text import normalise

        self.root, self.question, self.expect, self.tell = (
            root,
            checked(question),
            checked(expect, "The expected text"),
            tell,
        )
        if not normalise(self.expect):
            raise InputError(
                "The expected text contains no word: give a word or a name that the answer must contain."
            )
        self.replies: dict[str, Reply] = {}
        self.unaskable: dict[str, str] = {}

    def has(self, name: str) -> bool | None:
        """Whether the generation's answer holds the expected text; None when it cannot be asked."""
        if name not in self.replies and name not in self.unaskable:
            self.tell(name)
            try:
                self.replies[name] = ask(self.root, name, self.question, self.expect)
            except (ColdStorageError, ExportError, StateError, InputError) as error:
                self.unaskable[name] = str(error)
        return self.replies[name].has if name in self.replies else None

    def end(self, name: str) -> bool:
        """As ``has`` for a generation without which the search cannot begin."""
        if (has := self.has(name)) is None:
            raise LunaError(
                f"{name} cannot be asked, but the search needs it: {self.unaskable[name]}"
            )
        return has

    def result(self, order: Sequence[str]) -> BisectResult:
        rank = {name: index for index, name in enumerate(order)}
        replies = sorted(self.replies.values(), key=lambda reply: rank[reply.name])
        return BisectResult(self.question, self.expect, replies=replies, unaskable=self.unaskable)


def every(
    root: Path,
    line: Line,
    question: str,
    expect: str,
    good: str | None = None,
    bad: str | None = None,
    tell: Asked = lambda name: None,
) -> BisectResult:
    """Ask each generation from end to end (the whole line of the current best, where no ends are given)."""
    chain, _ = _chain(line, good, bad)
    asker = _Asker(root, question, expect, tell)
    for name in chain:
        asker.has(name)
    return asker.result(chain)


def bisect(
    root: Path,
    line: Line,
    question: str,
    expect: str,
    good: str | None = None,
    bad: str | None = None,
    tell: Asked = lambda name: None,
) -> BisectResult:
    """Binary search along one line of descent, from the current best backwards where no ends are given.

    ``good`` has the answer, ``bad`` has not; whichever is older, so both a loss and a lesson can be looked for.
    Without an older end, generations are asked at doubling distances until one answers otherwise.

    Raises:
        InputError: unknown generation, unusable text, ends on different branches, or --good does not have the answer, or --bad has it.
        LunaError: an end cannot be asked.
    """
    chain, fixed = _chain(line, good, bad)
    asker = _Asker(root, question, expect, tell)
    for name, expected in ((good, True), (bad, False)):
        if name is not None and asker.end(line.resolve(name)) != expected:
            raise InputError(
                f"{line.resolve(name)} {'does not answer' if expected else 'answers'} with '{asker.expect}', so it cannot be the {'good' if expected else 'bad'} end: see 'luna bisect --all'."
            )
    newer = len(chain) - 1
    now = asker.end(chain[newer])
    older = None
    if fixed:
        if asker.end(chain[0]) == now:
            return asker.result(chain)
        older = 0
    step = 1
    while older is None and newer > 0:
        index = max(0, len(chain) - 1 - step)
        has = asker.has(chain[index])
        if has is not None and has != now:
            older = index
        elif has is not None:
            newer = index
        if index == 0:
            break
        step *= 2
    if older is None:
        return asker.result(chain)
    while middle := _middle(chain, older, newer, asker.unaskable):
        has = asker.has(chain[middle])
        if has is None:
            continue
        older, newer = (older, middle) if has == now else (middle, newer)
    return replace(
        asker.result(chain),
        change=LEARNT if now else LOST,
        before=chain[older],
        at=chain[newer],
        between=chain[older + 1 : newer],
    )


def _middle(chain: Sequence[str], older: int, newer: int, unaskable: dict[str, str]) -> int | None:
    """The index nearest to the middle that can be asked; None when none is left."""
    middle = (older + newer) / 2
    return min(
        (index for index in range(older + 1, newer) if chain[index] not in unaskable),
        key=lambda index: abs(index - middle),
        default=None,
    )


def _chain(line: Line, good: str | None, bad: str | None) -> tuple[list[str], bool]:
    """Names from the older end to the newer, along parents; and whether the older end was given, not only the line's first."""
    head = line.resolve("HEAD")
    ends = [line.resolve(name) for name in (good, bad) if name is not None]
    if len(ends) == 2 and ends[0] == ends[1]:
        raise InputError(f"The good and the bad end are both {ends[0]}: give two generations.")
    if len(ends) < 2:
        ends.append(head)
    if len(set(ends)) == 1:
        return line.ancestors(head), False
    for newest, oldest in (ends, ends[::-1]):
        ancestors = line.ancestors(newest)
        if oldest in ancestors:
            return ancestors[ancestors.index(oldest) :], True
    raise InputError(
        f"{ends[0]} and {ends[1]} are on different branches (see 'luna log --graph'): give two generations of which one descends from the other."
    )
