"""Collects all that the report shows, from the tags, with few git processes.

Nothing here is trusted to be whole: a file that cannot be read leaves a mark on its generation and
no number, and a number that is none (text, not finite) is left out.
"""

from __future__ import annotations

import csv
import functools
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from evals import transfer
from luna import artifacts, hashes, params, sealed_parameters
from luna.errors import InputError
from luna.forensics.report.prose import as_html
from luna.history.line import Line, outs_of
from luna.history.lineage import GenerationEntry, head_moves, lineage
from luna.model import evolution
from luna.operations import votes
from luna.promotion import balance
from luna.scores import SCORES, shown, shown_change

_FILES = (
    artifacts.METRICS,
    artifacts.WEIGHT_CHANGE,
    artifacts.TRAIN_ARGS,
    artifacts.LOSS_CURVE,
    artifacts.HASHES,
    artifacts.MODEL_CARD,
    artifacts.PARAMS,
)
_LARGEST = 1e18
_CELLS = 40_000  # of a heatmap: more than a screen has pixels for
_LOSS_POINTS = 40  # of one curve
_EVALUATIONS = 150  # only this many of the newest generations include their EVAL.md, so that the page stays small
_LAYER = re.compile(r"\.layers?\.(\d+)\.")


def collect(line: Line) -> dict[str, Any]:
    """Raises InputError when the ledger's header cannot be read."""
    whole_line = lineage(line)
    sealed = [entry for entry in whole_line.entries if entry.name]
    texts = line.git.cat(
        [f"refs/tags/{entry.name}:{path.as_posix()}" for entry in sealed for path in _FILES]
    )
    evaluations = sealed[-_EVALUATIONS:]
    messages = dict(
        zip(
            (entry.gen for entry in evaluations),
            line.git.cat(
                [
                    f"refs/tags/{entry.name}:{artifacts.EVAL_REPORT.as_posix()}"
                    for entry in evaluations
                ]
            ),
            strict=True,
        )
    )
    by_gen = {
        entry.gen: dict(zip(_FILES, texts[i * len(_FILES) :], strict=False))
        for i, entry in enumerate(sealed)
    }
    generations, changes = [], {}
    for entry in whole_line.entries:
        record, changes[entry.gen] = _generation(
            entry, by_gen.get(entry.gen, {}), messages.get(entry.gen)
        )
        generations.append(record)
    _count_storage(generations)
    weights, weights_step = _weights(changes)
    matrix, matrix_step = _matrix(line, whole_line.head_line or [entry.gen for entry in sealed])
    return {
        "prefix": line.prefix,
        "scores": [
            {"name": score.name, "title": score.title, "less": score.less_is_better}
            for score in SCORES
        ],
        "head": next(
            (
                entry.gen
                for entry in whole_line.entries
                if entry.name and entry.name == line.head_name
            ),
            None,
        ),
        "generations": generations,
        "moves": [vars(move) for move in head_moves(line)],
        "votes": [vars(pair) for pair in votes.pairs(line.git.root)],
        "faults": whole_line.faults,
        "weights": weights,
        "weights_step": weights_step,
        "matrix": matrix,
        "matrix_step": matrix_step,
        "base_bytes": _base_bytes(line),
    }


def _number(value: Any) -> float | None:
    """A number that a chart can show, else None."""
    return (
        value
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and -_LARGEST < value < _LARGEST
        else None
    )


def _text(value: Any) -> str | None:
    return (
        str(value).encode("utf-8", "replace").decode()
        if isinstance(value, str | int | float)
        else None
    )


def _table(data: bytes | None) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    try:
        value = json.loads(data or b"")
    except (ValueError, RecursionError):
        raise ValueError from None
    if not isinstance(value, dict):
        raise ValueError
    return value


def _of(document: Mapping[str, Any], *path: str) -> Any:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _generation(
    entry: GenerationEntry, texts: Mapping[Any, bytes | None], evaluation: bytes | None
) -> tuple[dict[str, Any], dict[str, float]]:
    """The record that the page shows, and the relative change of each tensor."""
    marks = (
        [entry.fault]
        if entry.fault
        else []
        if entry.name
        else ["its tag is not here: fetch it with 'git fetch --tags'"]
    )
    documents = {}
    for path in (artifacts.METRICS, artifacts.TRAIN_ARGS):
        try:
            documents[path] = _table(texts.get(path))
        except ValueError:
            documents[path] = {}
            if entry.name:
                marks.append(f"{path.as_posix()} is missing or cannot be read")
    metrics, train = documents.values()
    change = {}
    try:
        change = {
            item.tensor: item.change
            for item in evolution.loads(
                (texts.get(artifacts.WEIGHT_CHANGE) or b"").decode("utf-8", "replace")
            )
            if item.change
        }
    except InputError:
        if entry.name:
            marks.append(f"{artifacts.WEIGHT_CHANGE.as_posix()} is missing or cannot be read")
    rule = _rule((texts.get(artifacts.PARAMS) or b"").decode("utf-8", "replace"))
    scores = {}
    for score in SCORES:
        interval = _of(metrics, "evaluation", "intervals", score.name)
        bound = "maximum" if score.less_is_better else "minimum"
        numbers = {
            "value": _number(_of(metrics, "evaluation", score.key)),
            "low": _number(_of(interval or {}, "low")),
            "high": _number(_of(interval or {}, "high")),
            "bound": getattr(getattr(rule, score.name, None), bound, None),
        }
        scores[score.name] = numbers | {
            "n": _number(_of(interval or {}, "n")),
            "text": {key: shown(value) for key, value in numbers.items()},
        }
    files = _files(texts.get(artifacts.HASHES))
    record = {
        "gen": entry.gen,
        "name": entry.name or entry.short,
        "short": entry.short,
        "parent": entry.parent,
        "state": entry.state,
        "on_head_line": entry.on_head_line,
        "born": entry.row.timestamp
        if entry.row
        else _text(_of(metrics, "generation", "timestamp")),
        "notes": _text(_of(metrics, "decision", "notes")),
        "marks": marks,
        "scores": scores,
        "training": {
            key: _number(_of(metrics, "training", key))
            for key in ("steps", "learning_rate", "walltime_minutes", "loss_start", "loss_final")
        }
        | {
            key: _number(train.get(key))
            for key in ("tokens", "peak_memory_bytes", "peak_gpu_memory_bytes")
        }
        | {"device": _text(train.get("device"))},
        "balance": worth.sentence if (worth := balance.of(metrics)) else None,
        "eval_minutes": _number(_of(metrics, "evaluation", "eval_time_minutes")),
        "backward_transfer": None
        if (transferred := _number(_of(metrics, "evaluation", "backward_transfer"))) is None
        else shown_change(transferred),
        "data": {
            key: _number(_of(metrics, "data", key))
            for key in ("new_conversations", "replay_samples", "total_training_examples", "karma")
        },
        "evolution": {
            key: _number(_of(metrics, "evolution", key))
            for key in ("weight_change_percent", "changed_layers", "total_layers", "threshold")
        },
        "loss": _loss(texts.get(artifacts.LOSS_CURVE)),
        "files": files,
        "card": as_html((texts.get(artifacts.MODEL_CARD) or b"").decode("utf-8", "replace")),
        "evaluation": as_html(evaluation.decode("utf-8", "replace")) if evaluation else None,
    }
    return record, change


@functools.lru_cache(maxsize=256)
def _promotion(block: str) -> params.Promotion | None:
    try:
        return sealed_parameters.parse(block.encode(), "params.yaml").promotion
    except InputError:
        return None


def _rule(text: str) -> params.Promotion | None:
    """The rule that a generation was judged by, from the one block of params.yaml that holds it."""
    block = re.search(r"^promotion:.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    return _promotion(block[0] if block else "")


def _loss(data: bytes | None) -> list[list[float]]:
    points = []
    for row in (data or b"").decode("utf-8", "replace").splitlines()[1:]:
        try:
            step, value = row.split("\t")[:2]
            points.append([int(step), round(float(value), 4)])
        except ValueError:
            continue
    points = [point for point in points if math.isfinite(point[1])]
    every = max(1, -(-len(points) // _LOSS_POINTS))
    return points[::every] + (points[-1:] if (len(points) - 1) % every else [])


def _files(data: bytes | None) -> list[list[Any]]:
    """(path, bytes, SHA-256) of each file of the artifact set."""
    try:
        return [[path, *listed] for path, listed in hashes.loads(data or b"").items()]
    except InputError:
        return []


def _count_storage(generations: Iterable[dict[str, Any]]) -> None:
    """Bytes of the artifacts alone (``own``), new to the line (``new``), and kept so far (``kept``): equal content is kept once."""
    seen: set[str] = set()
    kept = 0
    for record in generations:
        new = {digest: size for _, size, digest in record["files"] if digest not in seen}
        seen |= set(new)
        kept += sum(new.values())
        record["storage"] = {
            "own": sum(size for _, size, _ in record["files"]),
            "new": sum(new.values()),
            "kept": kept,
        }


def _weights(changes: Mapping[int, Mapping[str, float]]) -> tuple[list[list[Any]], int]:
    """Cells (generation, layer, mean relative change of its tensors), and n where only every n-th generation is shown."""
    means: dict[int, dict[int, list[float]]] = {}
    for gen, change in changes.items():
        layers: dict[int, list[float]] = defaultdict(list)
        for name, value in change.items():
            if match := _LAYER.search(f".{name}"):
                layers[int(match[1])].append(value)
        means[gen] = layers
    filled = [gen for gen, layers in means.items() if layers]
    step = max(1, -(-sum(len(means[gen]) for gen in filled) // _CELLS))
    return [
        [gen, layer, float(f"{sum(values) / len(values):.4g}")]
        for gen in filled[::-1][::step][::-1]
        for layer, values in sorted(means[gen].items())
    ], step


def _matrix(line: Line, gens: list[int]) -> tuple[list[list[int]], int]:
    """Cells (generation, batch, correct, n) of the head's line, as its newest generation keeps them."""
    names = [line.sealed[gen].name for gen in gens if gen in line.sealed]
    if not names:
        return [], 1
    text = line.git.show(f"refs/tags/{names[-1]}", artifacts.RECALL_MATRIX)
    try:
        cells = [cell for cell in transfer.loads((text or b"generation\n").decode()) if cell.n > 0]
    except (ValueError, TypeError, StopIteration, csv.Error):
        return [], 1
    rows = sorted({cell.generation for cell in cells})
    step = max(1, -(-len(cells) // _CELLS))
    shown = set(rows[::-1][::step])
    return [
        [cell.generation, cell.batch, cell.correct, cell.n]
        for cell in cells
        if cell.generation in shown
    ], step


def _base_bytes(line: Line) -> int | None:
    """Bytes of the base, which every generation shares; None where dvc.lock does not say."""
    if not line.newest:
        return None
    lock, pipeline = line.git.cat(
        [
            f"refs/tags/{line.newest}:{path.as_posix()}"
            for path in (artifacts.LOCK, artifacts.PIPELINE)
        ]
    )
    try:
        out = outs_of(lock or b"", pipeline or b"").get(artifacts.BASE.as_posix())
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return None
    return out.size if out else None
