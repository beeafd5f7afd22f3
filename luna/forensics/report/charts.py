"""The report's charts as Vega-Lite specifications.

See https://vega.github.io/vega-lite/

Colours are names of the style sheet's variables, which the script puts in, so that a chart follows dark and light.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luna.scores import Score

SELECTED = {"name": "selected", "value": None}
#: Up to so many generations each has its tick; above, the axis chooses.
_EACH = 12
_ABOVE = {
    "orient": "top",
    "direction": "horizontal",
    "offset": 4,
}  # a legend at the side takes too much of a phone
_STATES = ["current best", "promoted", "base", "denied", "rolled back", "unknown"]
_COLOURS = {
    "domain": _STATES,
    "range": ["--best", "--line", "--base", "--denied", "--back", "--quiet"],
}
_CROSS = "M-.8-.6L-.6-.8 0-.2.6-.8.8-.6.2 0 .8.6.6.8 0 .2-.6.8-.8.6-.2 0z"
_RING = "M-.6 0A.6.6 0 1 1 .6 0A.6.6 0 1 1-.6 0M-.32 0A.32.32 0 1 0 .32 0A.32.32 0 1 0-.32 0"
_SHAPES = {
    "domain": _STATES,
    "range": [
        "M0-1l.29.6.66.08-.49.45.13.65L0 .46l-.59.32.13-.65-.49-.45.66-.08z",
        "circle",
        "diamond",
        _CROSS,
        _RING,
        "square",
    ],
}


def _base(data: str, height: int, layers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"name": data},
        "params": [SELECTED],
        "layer": layers,
    } | more


_CHOSEN = "datum.gen === selected"  # as a condition and not as a filter: a chart without the generation would have no extent


def _ticks(gens: Sequence[int]) -> dict[str, Any]:
    """Where an axis or a legend of generations has its ticks: at whole numbers, each once."""
    values = {"values": list(gens)} if len(gens) <= _EACH else {}
    return {"format": "d", "tickMinStep": 1} | values


def _generation(gens: Sequence[int]) -> dict[str, Any]:
    return {
        "field": "gen",
        "type": "quantitative",
        "title": "generation",
        "axis": {"grid": False} | _ticks(gens),
        "scale": {"nice": False, "padding": 12},
    }


def _cursor(gens: Sequence[int]) -> dict[str, Any]:
    """The selected generation, as a rule through the chart."""
    return {
        "mark": {"type": "rule", "color": "--text", "strokeWidth": 1.5},
        "encoding": {
            "x": _generation(gens),
            "opacity": {"condition": {"test": _CHOSEN, "value": 0.35}, "value": 0},
        },
    }


def score(of: Score, gens: Sequence[int]) -> dict[str, Any]:
    """A score with its 95 % interval over the generations, and the bound of the rule it was judged by."""
    at_most, across = of.less_is_better, _generation(gens)
    scale = {"domain": [0, 1], "type": "sqrt"} if at_most else {"domain": [0, 1]}
    axis = (
        {"format": ".1f", "tickCount": 5}
        if not at_most
        else {"format": ".2f", "values": [0, 0.01, 0.05, 0.2, 0.5, 1]}
    )
    value = {"field": "value", "type": "quantitative", "title": None, "scale": scale, "axis": axis}
    tip = [
        {"field": "short", "title": "generation"},
        {"field": "state", "title": "verdict"},
        {"field": "text.value", "title": of.title},
        {"field": "text.low", "title": "95 % from"},
        {"field": "text.high", "title": "95 % to"},
        {"field": "n", "title": "probes"},
        {"field": "text.bound", "title": "at most" if at_most else "at least"},
    ]
    return _base(
        f"score-{of.name}",
        210,
        [
            _cursor(gens),
            {
                "mark": {
                    "type": "line",
                    "interpolate": "step-after",
                    "strokeDash": [5, 4],
                    "color": "--denied",
                    "strokeWidth": 1.5,
                },
                "encoding": {"x": across, "y": {"field": "bound", "type": "quantitative"}},
            },
            {
                "transform": [{"filter": "datum.onLine"}],
                "mark": {"type": "line", "color": "--line", "strokeWidth": 1.5, "opacity": 0.6},
                "encoding": {"x": across, "y": value},
            },
            {
                "mark": {"type": "rule", "opacity": 0.35, "strokeWidth": 2},
                "encoding": {
                    "x": across,
                    "y": {"field": "low", "type": "quantitative"},
                    "y2": {"field": "high"},
                    "color": {"field": "state", "scale": _COLOURS},
                },
            },
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 90,
                    "opacity": 1,
                    "cursor": "pointer",
                },
                "encoding": {
                    "x": across,
                    "y": value,
                    "color": {"field": "state", "scale": _COLOURS, "legend": None},
                    "shape": {"field": "state", "scale": _SHAPES, "legend": None},
                    "tooltip": tip,
                },
            },
        ],
    )


def loss(gens: Sequence[int]) -> dict[str, Any]:
    """Training loss by step, one line a generation (Vega-Lite)."""
    x = {
        "field": "step",
        "type": "quantitative",
        "title": "optimiser step",
        "axis": {"grid": False, "tickMinStep": 1},
    }
    y = {"field": "loss", "type": "quantitative", "title": "loss", "scale": {"zero": False}}
    tip = [
        {"field": "short", "title": "generation"},
        {"field": "step"},
        {"field": "loss", "format": ".3f"},
    ]
    colour = {
        "field": "gen",
        "type": "quantitative",
        "scale": {"scheme": "viridis"},
        "legend": {"title": "generation", **_ticks(gens), **_ABOVE},
    }
    width = {"condition": {"test": _CHOSEN, "value": 4}, "value": 1.5}
    colour["condition"] = {"test": _CHOSEN, "value": "--text"}
    return _base(
        "loss",
        260,
        [
            {
                "mark": {
                    "type": "line",
                    "opacity": 0.75,
                    "cursor": "pointer",
                    "point": {"filled": True, "size": 12},
                },
                "encoding": {
                    "x": x,
                    "y": y,
                    "detail": {"field": "gen"},
                    "color": colour,
                    "strokeWidth": width,
                    "tooltip": tip,
                },
            },
        ],
    )


def _heatmap(
    data: str,
    height: int,
    x: dict[str, Any],
    y: dict[str, Any],
    colour: dict[str, Any],
    tip: list[dict[str, Any]],
) -> dict[str, Any]:
    axis = {"labelOverlap": True, "labelAngle": 0, "grid": False, "ticks": False, "domain": False}
    return _base(
        data,
        height,
        [
            {
                "mark": {"type": "rect", "cursor": "pointer"},
                "encoding": {
                    "x": {"type": "ordinal", "axis": axis} | x,
                    "y": {"type": "ordinal", "axis": axis} | y,
                    "color": {"type": "quantitative"} | colour,
                    "tooltip": tip,
                },
            },
        ],
    )


def forgetting(rows: int) -> dict[str, Any]:
    """Recall of what each batch taught, by generation (Vega-Lite)."""
    tip = [
        {"field": "short", "title": "generation"},
        {"field": "batch", "title": "questions taught by"},
        {"field": "correct", "title": "right"},
        {"field": "n", "title": "asked"},
    ]
    return _heatmap(
        "matrix",
        max(140, min(480, 60 + 26 * rows)),
        {"field": "batch", "title": "questions taught by generation"},
        {"field": "gen", "title": "asked of generation"},
        {
            "field": "recall",
            "scale": {"domain": [0, 1], "scheme": "viridis"},
            "legend": {"title": "recall", "format": ".1f", **_ABOVE},
        },
        tip,
    )


def weights(layers: int) -> dict[str, Any]:
    """Change of each layer, by generation (Vega-Lite)."""
    tip = [
        {"field": "short", "title": "generation"},
        {"field": "layer"},
        {"field": "change", "title": "mean ‖ΔW‖ / ‖W‖", "format": ".2%"},
    ]
    return _heatmap(
        "weights",
        max(140, min(480, 60 + 14 * layers)),
        {"field": "gen", "title": "generation"},
        {"field": "layer", "title": "layer", "sort": "descending"},
        {
            "field": "change",
            "scale": {"type": "sqrt", "scheme": "magma"},
            "legend": {"title": "‖ΔW‖ / ‖W‖", "format": ".1%", **_ABOVE},
        },
        tip,
    )


def cost() -> dict[str, Any]:
    """Minutes of each stage, by generation (Vega-Lite)."""
    tip = [
        {"field": "short", "title": "generation"},
        {"field": "what"},
        {"field": "minutes", "format": ".2f"},
    ]
    return _base(
        "cost",
        260,
        [
            {
                "mark": {"type": "bar", "cursor": "pointer"},
                "encoding": {
                    "x": {
                        "field": "gen",
                        "type": "ordinal",
                        "title": "generation",
                        "axis": {"labelOverlap": True, "labelAngle": 0, "ticks": False},
                    },
                    "y": {
                        "field": "minutes",
                        "type": "quantitative",
                        "title": "minutes",
                        "stack": "zero",
                    },
                    "color": {
                        "field": "what",
                        "type": "nominal",
                        "scale": {
                            "domain": ["training", "examination"],
                            "range": ["--line", "--back"],
                        },
                        "legend": {"title": None, "orient": "top"},
                    },
                    "tooltip": tip,
                },
            },
        ],
    )


def storage(gens: Sequence[int]) -> dict[str, Any]:
    """Bytes kept, beside full copies, by generation (Vega-Lite)."""
    tip = [
        {"field": "short", "title": "generation"},
        {"field": "kept", "title": "kept, MB", "format": ",.1f"},
        {"field": "copies", "title": "as full copies, MB", "format": ",.1f"},
        {"field": "new", "title": "new, MB", "format": ",.2f"},
    ]
    y = {"type": "quantitative", "title": "MB"}
    return _base(
        "storage",
        210,
        [
            _cursor(gens),
            {
                "mark": {"type": "line", "strokeDash": [5, 4], "color": "--quiet"},
                "encoding": {"x": _generation(gens), "y": y | {"field": "copies"}},
            },
            {
                "mark": {
                    "type": "area",
                    "opacity": 0.3,
                    "color": "--line",
                    "line": {"color": "--line"},
                },
                "encoding": {"x": _generation(gens), "y": y | {"field": "kept"}},
            },
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 40,
                    "color": "--line",
                    "cursor": "pointer",
                },
                "encoding": {"x": _generation(gens), "y": y | {"field": "kept"}, "tooltip": tip},
            },
        ],
    )
