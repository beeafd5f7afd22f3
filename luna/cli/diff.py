"""The command `luna diff`; the work is in forensics/diff/ and forensics/tensors/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from luna import names
from luna.cli.common import Json, line_of, print_json, repository_root, say
from luna.cli.progress import in_pieces
from luna.cli.table import Column, printable, show
from luna.errors import InputError
from luna.forensics.diff import compare as generations
from luna.forensics.tensors import compare as weights_files
from luna.forensics.tensors.compare import FileDiff
from luna.scores import BY_NAME, shown, shown_change

_LISTED = 8  # of a list, unless the whole is asked for by --json
_ARROW = "→"


def command(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A generation (G002, 2, the full name, HEAD), or a GGUF or safetensors file, or a folder that holds one.",
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B",
            help="The other one: a generation if A is one, a file or folder if A is one.",
        ),
    ],
    tensors: Annotated[
        bool,
        typer.Option(
            "--tensors",
            help="Show every tensor with its change, not only the modules that changed most.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """What differs between two generations, or two files of weights.

    Generations: weights, scores with the answers that changed, training, data with the conversations added,
    parameters, versions, artifacts, and a verdict. Everything is read from git and this clone's cache; what only
    cold storage has is named, with the command that brings it. Exit code 1 when a file cannot be read; the part
    that depends on it is left out and marked.

    Files of weights: tensor by tensor, whatever program made them; git is not used. Values are decoded only
    where bytes differ.
    """
    named = [names.is_head(text) or names.number_of(text) is not None for text in (a, b)]
    if all(named):
        _generations(a, b, tensors, as_json)
    elif not any(named):
        _files(Path(a), Path(b), tensors, as_json)
    else:
        raise InputError(
            "One of the two is a generation and the other is not: give two generations, or two "
            "files (the file of a generation that is checked out is models/model.gguf)."
        )


# -- generations


def _generations(a: str, b: str, tensors: bool, as_json: bool) -> None:
    line = line_of(repository_root())
    comparison = generations.diff(line, line.resolve(a), line.resolve(b))
    if as_json:
        if not tensors:
            comparison["weights"].pop("tensors")
        print_json(comparison)
    else:
        _show(comparison, tensors)
    for mark in comparison["marks"]:
        say(f"luna diff: {mark}")
    if comparison["marks"]:
        raise typer.Exit(1)


def _show(comparison: dict[str, Any], tensors: bool) -> None:
    a, b = comparison["a"], comparison["b"]
    typer.echo(
        f"GENERATION DIFF: {a['short']} {_ARROW} {b['short']}   ({a['name']}, {a['state']} {_ARROW} {b['name']}, {b['state']})"
    )
    _title("Weights")
    _show_weights(comparison["weights"], tensors)
    _title("Evals")
    for name, score in comparison["evals"]["scores"].items():
        _row(
            BY_NAME[name].title,
            f"{shown(score['a']['value'])} {_ARROW} {shown(score['b']['value'])}"
            + ("" if score["delta"] is None else f" ({shown_change(score['delta'])})")
            + {True: " ✅", False: " ⚠", None: ""}[score["better"]],
        )
    _show_flips(comparison["evals"]["flips"])
    _title("Training")
    training = comparison["training"]
    _row("Steps", _both(training["steps"]["a"], training["steps"]["b"], "g", delta=True))
    for key, title, form in (
        ("learning_rate", "Learning rate", "g"),
        ("loss_final", "Final loss", ".4f"),
    ):
        _row(title, _both(training[key]["a"], training[key]["b"], form))
    minutes = training["walltime_minutes"]
    _row("Time", _both(minutes["a"], minutes["b"], ".1f", unit=" min"))
    _show_data(comparison["data"])
    for title, rows in (("Parameters", comparison["params"]), ("Versions", comparison["versions"])):
        if rows or rows is None:
            _title(title)
            for row in rows or ():
                _row(row["key"], f"{_plain(row['a'])} {_ARROW} {_plain(row['b'])}")
            if rows is None:
                _row("not known", "params.yaml of one of them cannot be read")
    _show_artifacts(comparison["artifacts"])
    verdict = comparison["verdict"]
    mark = {"IMPROVEMENT": " ✅", "REGRESSION": " ❌", "MIXED": " ⚠"}.get(verdict["word"], "")
    _title(f"Verdict: {verdict['word']} {verdict['text']}{mark}")
    for note in verdict["notes"]:
        typer.echo(f"  {note}")


def _title(text: str) -> None:
    typer.echo(f"\n{text}" + ("" if text.startswith("Verdict") else ":"))


def _row(title: str, text: str) -> None:
    typer.echo(f"  {title + ':':<22}{text}")


def _plain(value: Any) -> str:
    return "-" if value is None else printable(str(value))


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _both(a: float | None, b: float | None, form: str, unit: str = "", delta: bool = False) -> str:
    text = f"{_number(a, form, unit)} {_ARROW} {_number(b, form, unit)}"
    return f"{text} ({b - a:+{form}})" if delta and a is not None and b is not None else text


def _show_weights(weights: dict[str, Any], tensors: bool) -> None:
    drift = weights["total_drift"]
    if weights["tensors"] is None:
        _row("not known here", weights["note"])
    else:
        _row(
            "Changed",
            f"{weights['changed_layers']}/{weights['total_layers']} layers ({weights['weight_change_percent']:g} %; above {weights['threshold']:g} of the norm)",
        )
        _row("Most evolved", _ranked(weights["most_evolved"], weights["by_kind"]))
        _row(
            "By depth",
            _ranked(
                [f"layer {depth}" for depth in weights["most_evolved_depths"]],
                {f"layer {depth}": value for depth, value in weights["by_depth"].items()},
            ),
        )
        _row(
            "All together",
            f"{_number(weights['relative_change'], '.4f')} of {'the' if weights['note'] is None else 'the first'} norm"
            + (f" ({weights['note']})" if weights["note"] else ""),
        )
    _row("Away from the base", _both(drift["a"], drift["b"], ".4f"))
    if tensors and weights["tensors"]:
        typer.echo("")
        show(
            [Column("tensor"), Column("kind", 1), Column("change", right=True)],
            [
                [row["tensor"], row["kind"], _number(row["change"], ".6f")]
                for row in weights["tensors"]
            ],
        )


def _ranked(most: list[str], values: dict[str, float | None]) -> str:
    return ", ".join(f"{name} ({_number(values.get(name), '.4f')})" for name in most) or "nothing"


def _show_flips(flips: dict[str, Any]) -> None:
    if flips["lost"] is None:
        _row("Flipped answers", f"not known here: {flips['note']}")
        return
    _row(
        "Flipped answers",
        f"{len(flips['won'])} became right, {len(flips['lost'])} became wrong, of {flips['common']} probes asked of both",
    )
    for title, rows in (("lost", flips["lost"]), ("won", flips["won"])):
        for row in rows[:_LISTED]:
            typer.echo(
                f"    {title}: {_short(row['question'])}  {_short(row['a'], 40)} {_ARROW} {_short(row['b'], 40)}"
            )
        _more(rows)


def _short(text: str | None, limit: int = 80) -> str:
    text = _plain(text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _more(rows: list[Any]) -> None:
    if len(rows) > _LISTED:
        typer.echo(f"    and {len(rows) - _LISTED} more (--json has all)")


def _show_data(data: dict[str, Any]) -> None:
    if data["added"] is None:
        _row("Data", "not known: the record of what was taught cannot be read")
        return
    _row(
        "Data",
        f"+{len(data['added'])} conversations"
        + (f", -{len(data['missing'])} that only the first was taught" if data["missing"] else ""),
    )
    for sign, rows in (("+", data["added"]), ("-", data["missing"])):
        for row in rows[:_LISTED]:
            typer.echo(
                f"    {sign} G{row['generation']:03d} {_short(row['question'] or row['conversation'][:12])}"
            )
        _more(rows)
    _row("Replayed", _both(data["replay_samples"]["a"], data["replay_samples"]["b"], "g"))


def _size(side: dict[str, Any] | None) -> str:
    return f"{side['bytes']} B {side['sha256'][:12]}" if side else "-"


def _show_artifacts(rows: list[dict[str, Any]]) -> None:
    differing = [row for row in rows if not row["same"]]
    _title(f"Artifacts ({len(rows) - len(differing)} the same, {len(differing)} differ)")
    if differing:
        show(
            [Column("  artifact", drawn=True), Column("A", right=True), Column("B", right=True)],
            [[f"  {_plain(row['path'])}", _size(row["a"]), _size(row["b"])] for row in differing],
        )


# -- files


def _files(a: Path, b: Path, tensors: bool, as_json: bool) -> None:
    for path in (a, b):
        if not path.exists():
            raise InputError(
                f"'{path}' is neither a generation nor a file: generations are named G003, 3, by their full name or HEAD (see 'luna log')."
            )
    with in_pieces("comparing", as_json) as progress:
        comparison = weights_files.compare(a, b, progress)
    if as_json:
        document = comparison.as_json()
        if not tensors:
            document.pop("tensors")
        print_json(document)
    else:
        _show_files(comparison, tensors)


def _show_files(comparison: FileDiff, tensors: bool) -> None:
    counts = {
        state: comparison.count(state)
        for state in ("same", "changed", "reshaped", "only in A", "only in B")
    }
    typer.echo(f"FILE DIFF: {comparison.a.path} {_ARROW} {comparison.b.path}")
    _title("Weights")
    _row("Format", f"{comparison.a.format}, {comparison.a.size} {_ARROW} {comparison.b.size} bytes")
    _row(
        "Tensors",
        f"{counts['changed']}/{len(comparison.tensors)} changed"
        + "".join(
            f", {counts[state]} {state}"
            for state in ("same", "reshaped", "only in A", "only in B")
            if counts[state]
        ),
    )
    _row("Most evolved", ", ".join(comparison.most_evolved) or "nothing")
    rows = (
        comparison.tensors
        if tensors
        else [
            *comparison.changed[:_LISTED],
            *[item for item in comparison.tensors if item.state not in ("same", "changed")][
                :_LISTED
            ],
        ]
    )
    if rows:
        typer.echo("")
        show(
            [
                Column("tensor"),
                Column("state"),
                Column("change", right=True),
                Column("A", 1),
                Column("B", 2),
                Column("note"),
            ],
            [
                [
                    item.tensor,
                    item.state,
                    _number(item.change, ".6f"),
                    item.before or "-",
                    item.after or "-",
                    item.note or "",
                ]
                for item in rows
            ],
        )
        hidden = len(comparison.tensors) - counts["same"] - len(rows)
        if not tensors and hidden > 0:
            typer.echo(f"and {hidden} more (--tensors shows all)")
    if comparison.metadata:
        _title("Metadata")
        for key, old, new in comparison.metadata:
            _row(_short(key), f"{_short(old)} {_ARROW} {_short(new)}")
