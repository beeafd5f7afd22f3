"""Draws the lineage as lanes beside a list, newest generation first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from luna.forensics.lanes import Node, lay_out
from luna.scores import RECALL

ROW, LANE, INSET, BEND = 40, 18, 16, 8  # CSS pixels; the style sheet's --row is the first of them
_WORDS = {
    "HEAD": "current best",
    "base": "the base",
    "promoted": "promoted",
    "denied": "denied",
    "rolled back": "rolled back",
    "unknown": "verdict unknown",
}


@dataclass(frozen=True)
class Stroke:
    """A path of SVG; ``kind`` is its class in the style sheet."""

    kind: str
    path: str


@dataclass(frozen=True)
class Drawing:
    """Sizes in CSS pixels."""

    width: int
    height: int
    strokes: list[Stroke]


def _x(lane: int) -> int:
    return INSET + lane * LANE


def _mark(state: str, x: int, y: int) -> Stroke:
    """Each state has a shape of its own, so that colour is not needed to tell them apart."""
    path = {
        "HEAD": f"M{x} {y - 9}l2.6 5.8 6.3.7-4.7 4.3 1.3 6.2-5.5-3.2-5.5 3.2 1.3-6.2-4.7-4.3 6.3-.7z",
        "base": f"M{x} {y - 7}l7 7-7 7-7-7z",
        "denied": f"M{x - 5} {y - 5}l10 10m0-10l-10 10",
        "unknown": f"M{x - 5} {y - 5}h10v10h-10z",
    }.get(state, f"M{x - 5.5} {y}a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z")
    return Stroke(f"mark {state.replace(' ', '-')}", path)


def _line(
    node: Node, places: dict[int, Node], lane_of: dict[int, int], y: Callable[[int], int]
) -> list[str]:
    """The paths from the parent, and of the stem towards later children."""
    paths = []
    x = _x(node.lane)
    if node.stem_end > node.row:
        goes_on = lane_of[node.stem_end] == node.lane
        paths.append(f"M{x} {y(node.row)}V{y(node.stem_end) + (0 if goes_on else BEND)}")
    if node.leaves_at is not None and node.parent is not None:
        from_x = _x(places[node.parent].lane)
        if node.leaves_at == node.row:
            paths.append(f"M{from_x} {y(node.row) + BEND}q0 {-BEND} {BEND} {-BEND}H{x}")
        else:
            start = y(node.leaves_at)
            paths.append(f"M{from_x} {start}H{x - BEND}q{BEND} 0 {BEND} {-BEND}V{y(node.row)}")
    return paths


def strokes(generations: list[dict[str, Any]]) -> Drawing:
    """The drawing as paths: first the lines, then the marks."""
    parents = {
        item["gen"]: item["parent"] if isinstance(item["parent"], int) else None
        for item in generations
    }
    places = lay_out(
        parents,
        [item["gen"] for item in generations if item["on_head_line"]],
        [item["gen"] for item in generations if item["state"] not in ("denied", "unknown")],
    )
    lane_of = {node.row: node.lane for node in places.values()}
    count = len(generations)

    def y(row: int) -> int:
        return (count - 1 - row) * ROW + ROW // 2

    width = _x(max((node.lane for node in places.values()), default=0)) + INSET
    lines = [
        Stroke("spine" if item["on_head_line"] else "branch", path)
        for item in generations
        for path in _line(places[item["gen"]], places, lane_of, y)
    ]
    marks = [
        _mark(item["state"], _x(places[item["gen"]].lane), y(places[item["gen"]].row))
        for item in generations
    ]
    return Drawing(width, count * ROW, [*lines, *marks])


def draw(generations: list[dict[str, Any]]) -> tuple[str, str, int]:
    """The SVG, the list's rows, and the width that the drawing takes (CSS pixels)."""
    drawing = strokes(generations)
    paths = "".join(f'<path class="{one.kind}" d="{one.path}"/>' for one in drawing.strokes)
    size = f'width="{drawing.width}" height="{drawing.height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    svg = f'<svg aria-hidden="true" {size}>{paths}</svg>'
    return svg, "".join(_row(item) for item in reversed(generations)), drawing.width


def _row(item: dict[str, Any]) -> str:
    parent = (
        f"child of G{item['parent']:03d}"
        if isinstance(item["parent"], int)
        else "no parent"
        if item["parent"]
        else "parent unknown"
    )
    recall = item["scores"][RECALL.name]
    value = "not measured" if recall["value"] is None else recall["text"]["value"]
    warn = (
        '<span class="warn"><span aria-hidden="true">!</span><span class="spoken">something of it cannot be read</span></span> '
        if item["marks"]
        else ""
    )
    return (
        f'<div role="option" id="row-{item["gen"]}" data-gen="{item["gen"]}" aria-selected="false">'
        f'<b>{item["short"]}</b> <span class="state {item["state"].replace(" ", "-")}">{_WORDS[item["state"]]}</span> <span class="spoken">{parent}</span> {warn}'
        f'<span class="quiet">{escape((item["born"] or "")[:10])}</span> <span class="spoken which">{RECALL.title}</span> <span class="figure">{value}</span></div>'
    )
