"""Writes the report as one HTML file whose policy lets nothing else be loaded."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib import resources
from typing import Any

from luna.errors import InputError
from luna.forensics.report import charts, graph
from luna.names import GenerationName
from luna.scores import SCORES


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def theme() -> str:
    """Colours, type and plain elements, which the report and the studio share."""
    return _asset("theme.css")


def shared() -> str:
    """The script that both share, for before their own."""
    return _asset("shared.js")


def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, out of vl-convert-python; no network is asked."""
    import vl_convert

    return (
        vl_convert.javascript_bundle().replace("</script", "<\\/script").replace("<!--", "<\\!--")
    )


def _policy(*scripts: str) -> str:
    """Only these scripts run, and nothing is loaded. Vega compiles its expressions, hence 'unsafe-eval'."""
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return f"default-src 'none'; script-src {allowed} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def _data(value: Any) -> str:
    """JSON that stands in a script element and cannot end it."""
    return (
        json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
    )


def _specifications(data: dict[str, Any]) -> dict[str, Any]:
    gens = [item["gen"] for item in data["generations"]]
    return {
        **{f"score-{score.name}": charts.score(score, gens) for score in SCORES},
        "loss": charts.loss(gens),
        "matrix": charts.forgetting(len({cell[0] for cell in data["matrix"]})),
        "weights": charts.weights(len({cell[1] for cell in data["weights"]})),
        "cost": charts.cost(),
        "storage": charts.storage(gens),
    }


def _moves(moves: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{move['move']}</td><td>{escape((move['when'] or 'unknown').replace('T', ' ').replace('Z', ''))}</td><td>{escape(move['generation'])}</td>"
        f"<td>{escape(move['who'])}</td><td>{escape(move['why'])}</td></tr>"
        for move in reversed(moves)
    )
    return f'<table><thead><tr><th scope="col">Move</th><th scope="col">When (UTC)</th><th scope="col">To</th><th scope="col">Who</th><th scope="col">Why</th></tr></thead><tbody>{rows}</tbody></table>'


def _votes(pairs: list[dict[str, Any]]) -> str:
    """The section on votes; nothing where there are none."""
    if not pairs:
        return ""
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(str(cell))}</td>"
            for cell in (
                _short(pair["a"]),
                _short(pair["b"]),
                *(pair[key] for key in ("a_better", "b_better", "neither", "blind")),
            )
        )
        + "</tr>"
        for pair in pairs
    )
    titles = ("A", "B", "A better", "B better", "Neither", "Cast blind")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return (
        '<section id="votes" aria-labelledby="votes-title"><h2 id="votes-title">Votes</h2>'
        '<p class="quiet">Answers of two generations to the same question, side by side: which one a person found better.</p>'
        f'<div class="scroller wide" tabindex="0" role="region" aria-label="Votes"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _short(name: str) -> str:
    try:
        return GenerationName.parse(name).short
    except InputError:
        return name


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def _tiles(data: dict[str, Any]) -> str:
    generations = data["generations"]
    states = [item["state"] for item in generations]
    head = next((item for item in generations if item["gen"] == data["head"]), None)

    def of_head(name: str) -> tuple[str, str]:
        score: dict[str, Any] = head["scores"][name] if head else {"value": None}
        if score["value"] is None:
            return "–", "not measured"
        text = score["text"]
        known = score["low"] is not None and score["high"] is not None
        return text["value"], f"95 %: {text['low']} to {text['high']}" if known else ""

    minutes = sum(
        (item["training"]["walltime_minutes"] or 0) + (item["eval_minutes"] or 0)
        for item in generations
    )
    taught = sum(
        (item["data"]["new_conversations"] or 0) for item in generations if item["on_head_line"]
    )
    kept = generations[-1]["storage"]["kept"] + (data["base_bytes"] or 0)
    tiles = [
        (
            "Current best",
            head["short"] if head else "none",
            head["name"] if head else "the head is not set",
        ),
        (
            "Generations",
            str(len(generations)),
            f"{states.count('denied')} denied, {states.count('rolled back')} rolled back",
        ),
        *((score.title, *of_head(score.name)) for score in SCORES),
        ("Conversations", f"{taught:.0f}", "taught on the current best's line"),
        (
            "Time",
            f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h",
            "training and examination, all generations",
        ),
        ("Storage", _size(kept), "the base included" if data["base_bytes"] else "all artifacts"),
    ]
    return "".join(
        f'<div class="tile"><dt>{title}</dt><dd><b>{escape(value)}</b><span>{escape(note)}</span></dd></div>'
        for title, value, note in tiles
    )


def _balance(data: dict[str, Any]) -> str:
    """What the current best has gained and what it has cost, in one line."""
    head = next((item for item in data["generations"] if item["gen"] == data["head"]), None)
    worth = head["balance"] if head else None
    return f"<p>The current best {escape(worth)}.</p>" if worth else ""


def render(data: dict[str, Any]) -> str:
    """The whole page. ``data`` as ``collect`` gives it, with at least one generation."""
    drawing, rows, width = graph.draw(data["generations"])
    vega, script = _vega(), shared() + _asset("page.js")
    faults = "".join(
        f"<p class='warning'>{escape(fault)}; values of the tags are shown instead.</p>"
        for fault in data["faults"]
    )
    title = f"{data['prefix']}: {len(data['generations'])} generations"
    parts = {
        "POLICY": escape(_policy(vega, script)),
        "TITLE": escape(title),
        "PREFIX": escape(data["prefix"]),
        "STYLE": theme() + _asset("page.css"),
        "TILES": _tiles(data),
        "FAULTS": faults,
        "BALANCE": _balance(data),
        "DRAWING": drawing,
        "ROWS": rows,
        "WIDTH": str(width),
        "SORTS": "".join(
            f'<option value="{score.name}">by {score.words}, best first</option>'
            for score in SCORES
        ),
        "SCORES": "".join(
            f'<figure data-chart="score-{score.name}"><figcaption>{score.title} <small>{"at most; square-root scale" if score.less_is_better else "at least"}</small></figcaption></figure>'
            for score in SCORES
        ),
        "MOVES": _moves(data["moves"]),
        "VOTES": _votes(data["votes"]),
        "DATA": _data(data),
        "CHARTS": _data(_specifications(data)),
        "VEGA": vega,
        "SCRIPT": script,
        "NEWEST": escape(data["generations"][-1]["name"]),
    }
    # One pass over the template: what is put in is never looked at again.
    page = _asset("page.html").split("@@")
    return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(page))
