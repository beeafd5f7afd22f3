"""Draws the lineage as SVG lanes beside a list, newest generation first."""

from __future__ import annotations

from collections.abc import Callable
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


def _x(lane: int) -> int:
    return INSET + lane * LANE


def _mark(state: str, x: int, y: int) -> str:
    """Each state has a shape of its own, so that colour is not needed to tell them apart."""
    shape = {
        "HEAD": f'<path d="M{x} {y - 9}l2.6 5.8 6.3.7-4.7 4.3 1.3 6.2-5.5-3.2-5.5 3.2 1.3-6.2-4.7-4.3 6.3-.7z"/>',
        "base": f'<path d="M{x} {y - 7}l7 7-7 7-7-7z"/>',
        "denied": f'<path d="M{x - 5} {y - 5}l10 10m0-10l-10 10"/>',
        "unknown": f'<path d="M{x - 5} {y - 5}h10v10h-10z"/>',
    }.get(state, f'<circle cx="{x}" cy="{y}" r="5.5"/>')
    return f'<g class="mark {state.replace(" ", "-")}">{shape}</g>'


def _line(
    node: Node, places: dict[int, Node], lane_of: dict[int, int], y: Callable[[int], int]
) -> str:
    """The path from the parent, and the stem towards later children."""
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
    return "".join(f'<path d="{path}"/>' for path in paths)


def draw(generations: list[dict[str, Any]]) -> tuple[str, str, int]:
    """The SVG, the list's rows, and the width that the drawing takes (CSS pixels)."""
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
    lines = "".join(
        f'<g class="{"spine" if item["on_head_line"] else "branch"}">{_line(places[item["gen"]], places, lane_of, y)}</g>'
        for item in generations
    )
    marks = "".join(
        _mark(item["state"], _x(places[item["gen"]].lane), y(places[item["gen"]].row))
        for item in generations
    )
    svg = f'<svg aria-hidden="true" width="{width}" height="{count * ROW}" viewBox="0 0 {width} {count * ROW}">{lines}{marks}</svg>'
    return svg, "".join(_row(item) for item in reversed(generations)), width


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
