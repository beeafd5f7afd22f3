"""Each generation with its state, and each move of the head: the data of `luna log`.

git is asked in a fixed number of processes, however long the line is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from luna import ledger
from luna.history.line import Line, parent_named
from luna.ledger import Row
from luna.names import BASE_PARENT, GenerationName
from luna.repo.tag import TagBody
from luna.scores import ABILITY, IN_LEDGER, SCORES

HEAD, BASE, PROMOTED, DENIED, ROLLED_BACK, UNKNOWN = (
    "HEAD",
    "base",
    "promoted",
    "denied",
    "rolled back",
    "unknown",
)


@dataclass(frozen=True)
class GenerationEntry:
    """One generation. ``row`` is None where the ledger's row cannot be read: then parent, verdict and scores are the tag's.

    ``name`` is None where the ledger has a row but no sealed tag is here. ``rolled back``: it was promoted, and the
    head has since gone back behind it.
    """

    gen: int
    name: str | None
    parent: int | str | None
    promoted: bool | None
    scores: dict[str, float | None]
    state: str
    on_head_line: bool
    row: Row | None
    fault: str | None

    @property
    def short(self) -> str:
        """The short name, G003."""
        return f"G{self.gen:03d}"

    def as_json(self) -> dict[str, Any]:
        """The entry as 'luna log --json' prints it."""
        values = (
            asdict(self.row)
            if self.row
            else dict.fromkeys((item.name for item in fields(Row)), None) | self.scores
        )
        return values | {
            "gen": self.gen,
            "parent": self.parent,
            "promoted": self.promoted,
            ABILITY.column: self.scores[ABILITY.column],
            "name": self.name,
            "head": self.state == HEAD,
            "state": self.state,
            "on_head_line": self.on_head_line,
            "fault": self.fault,
        }


@dataclass(frozen=True)
class Lineage:
    """``entries`` oldest first; ``faults``: a sentence for each line of the ledger that is no row."""

    entries: list[GenerationEntry]
    faults: list[str]

    @property
    def head_line(self) -> list[int]:
        """Numbers of the current best and its ancestors, oldest first."""
        return [entry.gen for entry in self.entries if entry.on_head_line]


@dataclass(frozen=True)
class Move:
    """The ``move``-th move of the head, counted from 1. ``when`` is UTC, ISO 8601; None where the tag does not say."""

    move: int
    generation: str
    previous: str | None
    who: str
    when: str | None
    why: str


@dataclass(frozen=True)
class _Fact:
    """What is known of a generation, from its row of the ledger or, without one, from its tag's message."""

    parent: int | str | None
    promoted: bool | None
    scores: dict[str, float | None]


def lineage(line: Line) -> Lineage:
    """Raises InputError when the ledger's header cannot be read."""
    rows, faults = ledger.scan(
        line.ledger_text(), line.ledger_label, "fetch the tag again from an intact clone"
    )
    by_gen = {row.gen: row for row in rows}
    by_tags = _from_tags(line, sorted(line.sealed))
    parents = {gen: row.parent for gen, row in by_gen.items()} | line.parents
    head = GenerationName.parse(line.head_name).number if line.head_name else None
    on_line = set() if head is None else {head, *ledger.descent(parents, head)}
    entries = []
    for gen in sorted(set(line.sealed) | set(by_gen)):
        row, tag = by_gen.get(gen), line.sealed.get(gen)
        fact = by_tags.get(gen)
        if row is not None:
            ability = fact.scores[ABILITY.column] if fact else None
            fact = _Fact(parents[gen], row.promoted, _scores(row) | {ABILITY.column: ability})
        assert fact is not None
        state = _state(gen, fact, head, gen in on_line)
        fault = (
            f"the ledger has no readable row of {tag.name}: the values shown are from its tag"
            if tag and not row
            else None
        )
        entries.append(
            GenerationEntry(
                gen,
                tag.name if tag else None,
                fact.parent,
                fact.promoted,
                fact.scores,
                state,
                gen in on_line,
                row,
                fault,
            )
        )
    return Lineage(
        entries,
        [f"{line.ledger_label} line {fault.line} is not a row of the ledger" for fault in faults],
    )


def _state(gen: int, fact: _Fact, head: int | None, on_line: bool) -> str:
    if gen == head:
        return HEAD
    if fact.parent == BASE_PARENT:
        return BASE
    if fact.promoted is None:
        return UNKNOWN
    if not fact.promoted:
        return DENIED
    return PROMOTED if on_line or head is None else ROLLED_BACK


def _scores(row: Row) -> dict[str, float | None]:
    return {score.column: getattr(row, score.column) for score in IN_LEDGER}


def _from_tags(line: Line, numbers: list[int]) -> dict[int, _Fact]:
    """Parent, verdict and scores from the tags' messages, which repeat the ledger's and have one more score."""
    bodies = line.git.cat([line.sealed[gen].object for gen in numbers]) if numbers else []
    entries = {}
    for gen, body in zip(numbers, bodies, strict=True):
        fields = TagBody.of(body).fields
        entries[gen] = _Fact(
            parent_named(fields, gen),
            {"promoted": True, "denied": False}.get(fields.get("Verdict", "")),
            {score.column: _fraction(fields.get(score.field)) for score in SCORES},
        )
    return entries


def _fraction(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def head_moves(line: Line) -> list[Move]:
    """Every move of the head, oldest first: who, when, to which generation, why; from the assignment tags."""
    counts = sorted(line.assignments)
    by_commit = {tag.commit: tag.name for tag in line.sealed.values()}
    bodies = line.git.cat([line.assignments[count].object for count in counts])
    moves: list[Move] = []
    for count, body in zip(counts, bodies, strict=True):
        tag = line.assignments[count]
        made = TagBody.of(body)
        name = by_commit.get(tag.commit, tag.commit[:12])
        why = (
            made.message.partition("\n\n")[0].strip()
            if tag.annotated
            else "no reason: Luna did not write this tag"
        )
        moves.append(
            Move(count, name, moves[-1].generation if moves else None, made.who, made.when, why)
        )
    return moves
