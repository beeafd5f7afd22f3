"""Places generations in the lanes of a tree, for the terminal and for the report.

A row a generation, oldest first. The head's line keeps lane 0; a branch gets the first free lane to
the right of its parent's. A lane is one line of descent: it continues with at most one child, and
every other child leaves it by an elbow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """``row`` counts generations from the oldest. ``stem_end``: the last row to which the line below the node reaches.

    ``leaves_at``: the row at which the node's branch leaves its parent's lane; None for a root and for
    the child that continues in the parent's lane. It is the node's own row, or the parent's where the
    parent's lane ends or continues before.
    """

    row: int
    lane: int
    parent: int | None
    stem_end: int
    leaves_at: int | None


def lay_out(
    parents: Mapping[int, int | None], heirs: Sequence[int], promoted: Sequence[int]
) -> dict[int, Node]:
    """``parents``: each generation's parent, None for a root; ``heirs``: the head's line, which keeps its lane.

    Elsewhere a lane continues with the newest of the ``promoted`` children.
    """
    order = sorted(parents)
    row = {gen: index for index, gen in enumerate(order)}
    children: dict[int, list[int]] = defaultdict(list)
    parent_of = {gen: parent if parent in row else None for gen, parent in parents.items()}
    for gen in order:
        if (parent := parent_of[gen]) is not None:
            children[parent].append(gen)
    first, able = set(heirs), set(promoted)
    going_on: dict[int, int | None] = {}
    for gen, born in children.items():
        heir = next((child for child in born if child in first), None)
        if heir is None and gen not in first:  # only the current best continues in its lane
            heir = next((child for child in reversed(born) if child in able), None)
        going_on[gen] = heir

    def stem(gen: int) -> int:
        heir = going_on.get(gen)
        return (
            row[heir]
            if heir is not None
            else row[children[gen][-1]]
            if children.get(gen)
            else row[gen]
        )

    lanes: dict[int, int] = {}
    leaves: dict[int, int | None] = {}
    taken: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for gen in order:
        parent = parent_of[gen]
        if parent is not None and going_on[parent] == gen:
            lanes[gen], leaves[gen] = lanes[parent], None
            continue
        start = leaves[gen] = (
            None if parent is None else row[gen] if row[gen] <= stem(parent) else row[parent]
        )
        start = row[gen] if start is None else start
        end = gen
        while (heir := going_on.get(end)) is not None:
            end = heir
        last = stem(end)
        lane = 0 if parent is None else lanes[parent] + 1
        while any(begin <= last and start <= stop for begin, stop in taken[lane]):
            lane += 1
        taken[lane].append((start, last))
        lanes[gen] = lane
    return {
        gen: Node(
            row[gen],
            lanes[gen],
            parent_of[gen],
            stem(gen),
            leaves[gen],
        )
        for gen in order
    }


def as_text(places: Mapping[int, Node], symbols: Mapping[int, str]) -> list[str]:
    """The tree in box-drawing characters, a string a row, all of one width (two columns a lane)."""
    width = 2 * (max((node.lane for node in places.values()), default=0) + 1)
    rows = [[" "] * width for _ in places]
    for node in places.values():
        start = node.row if node.leaves_at is None else node.leaves_at
        for index in range(start, node.stem_end + 1):
            rows[index][2 * node.lane] = "│"
    for node in sorted(places.values(), key=lambda node: -node.lane):
        if node.leaves_at is None or node.parent is None:
            continue
        parent, line = places[node.parent], rows[node.leaves_at]
        for column in range(2 * parent.lane + 1, 2 * node.lane):
            line[column] = "┼" if line[column] in "│┼" else "─"
        if node.leaves_at == node.row:  # the parent's lane passes by, or ends here
            line[2 * parent.lane] = "├" if parent.stem_end > node.row else "╰"
        else:
            line[2 * node.lane] = "┬" if line[2 * node.lane] == "┼" else "╮"
    for gen, node in places.items():
        rows[node.row][2 * node.lane] = symbols[gen]
    return ["".join(cells) for cells in rows]
