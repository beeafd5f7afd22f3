"""The whole comparison of two generations: weights, evals, training, data, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luna.forensics.diff import answers, taught, weights
from luna.forensics.diff.known import Known, number, read
from luna.history.line import Line
from luna.history.lineage import lineage
from luna.scores import BY_NAME, SCORES

_DIGITS = 4  # decimals of a score: smaller differences are noise
_NOT_COMPARED = "generation"  # the section of params.yaml that only names the generation


def diff(line: Line, first: str, second: str) -> dict[str, Any]:
    """Compare two sealed generations, given by their full names.

    git is asked in a fixed number of processes, and nothing is fetched: what would need more than this clone
    has is marked. Raises InputError when the ledger's header cannot be read.
    """
    whole_line = lineage(line)
    entries = {entry.name: entry for entry in whole_line.entries}
    a, b = read(line, [entries[first], entries[second]])
    scores = _scores(a, b)
    flips = answers.section(line.git.root, a, b)
    return {
        "a": _identity(a),
        "b": _identity(b),
        "weights": weights.section(line, whole_line, a, b),
        "evals": {"scores": scores, "same_probes": _same_probes(a, b), "flips": flips},
        "training": _training(a, b),
        "data": taught.section(line, a, b),
        "params": _params(a, b),
        "versions": _versions(a, b),
        "artifacts": _artifacts(a, b),
        "verdict": _verdict(scores, _same_probes(a, b), _same_measure(a, b), flips),
        "marks": [*a.marks, *(mark for mark in b.marks if mark not in a.marks), *whole_line.faults],
    }


def _identity(known: Known) -> dict[str, Any]:
    entry = known.entry
    return {
        "name": entry.name,
        "gen": entry.gen,
        "short": entry.short,
        "parent": entry.parent,
        "state": entry.state,
        "promoted": entry.promoted,
    }


def _scores(a: Known, b: Known) -> dict[str, dict[str, Any]]:
    scores = {}
    for score in SCORES:
        sides = {}
        for side, known in (("a", a), ("b", b)):
            value = (
                known.number("evaluation", score.key)
                if known.metrics
                else known.entry.scores.get(score.column)
            )
            interval = {
                bound: known.number("evaluation", "intervals", score.name, bound)
                for bound in ("low", "high", "n")
            }
            sides[side] = {"value": value, **interval}
        old, new = sides["a"]["value"], sides["b"]["value"]
        delta = None
        if old is not None and new is not None and _same_measure(a, b):
            delta = round(new - old, _DIGITS)
        scores[score.name] = sides | {
            "delta": delta,
            "better": None if not delta else (delta < 0) == score.less_is_better,
        }
    return scores


def _same_measure(a: Known, b: Known) -> bool:
    """Whether the scores mean the same: generations sealed before measures had names were all judged by one."""
    names = [_measure(known.metrics) for known in (a, b)]
    return names[0] == names[1]


def _measure(metrics: Any) -> Any:
    scores = metrics.get("evaluation") if isinstance(metrics, Mapping) else None
    return scores.get("method") if isinstance(scores, Mapping) else None


def _same_probes(a: Known, b: Known) -> bool | None:
    sets = [
        known.metrics.get("data", {}).get("probe_set_sha256")
        if isinstance(known.metrics.get("data"), dict)
        else None
        for known in (a, b)
    ]
    return None if None in sets else sets[0] == sets[1]


def _training(a: Known, b: Known) -> dict[str, dict[str, Any]]:
    return {
        key: {"a": a.number("training", key), "b": b.number("training", key)}
        for key in (
            "steps",
            "learning_rate",
            "batch_size",
            "gradient_accumulation",
            "loss_start",
            "loss_final",
            "walltime_minutes",
        )
    } | {
        key: {"a": number(a.train, key), "b": number(b.train, key)}
        for key in ("tokens", "peak_memory_bytes")
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {
            key: item
            for name, below in value.items()
            for key, item in _flat(below, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    return {prefix: value}


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "a": a.get(key), "b": b.get(key)}
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key)
    ]


def _params(a: Known, b: Known) -> list[dict[str, Any]] | None:
    if not a.params or not b.params:
        return None
    return _differing(
        *(
            _flat({key: value for key, value in known.params.items() if key != _NOT_COMPARED})
            for known in (a, b)
        )
    )


def _versions(a: Known, b: Known) -> list[dict[str, Any]]:
    """Only what both record: generation 0, which was not trained, names no trainer."""
    sides = []
    for known in (a, b):
        versions = known.train.get("versions")
        sides.append(
            _flat(versions if isinstance(versions, dict) else {})
            | {
                key: known.export[key]
                for key in ("converter", "quantization")
                if key in known.export
            }
            | ({"device": known.train["device"]} if "device" in known.train else {})
        )
    both = sides[0].keys() & sides[1].keys()
    return _differing(
        *({key: value for key, value in side.items() if key in both} for side in sides)
    )


def _artifacts(a: Known, b: Known) -> list[dict[str, Any]]:
    rows = []
    for path in dict.fromkeys([*a.hashes, *b.hashes]):
        sides = {
            side: known.hashes[path]._asdict() if path in known.hashes else None
            for side, known in (("a", a), ("b", b))
        }
        rows.append({"path": path, **sides, "same": sides["a"] == sides["b"]})
    return rows


def _verdict(
    scores: Mapping[str, Mapping[str, Any]],
    same_probes: bool | None,
    same_measure: bool,
    flips: Mapping[str, Any],
) -> dict[str, Any]:
    """``word`` and the reasons; and notes where probes differ or chance explains a difference."""
    measured = {name: score for name, score in scores.items() if score["delta"] is not None}
    better = [BY_NAME[name].title for name, score in measured.items() if score["better"] is True]
    worse = [BY_NAME[name].title for name, score in measured.items() if score["better"] is False]
    if not measured:
        word, text = "UNKNOWN", "no score was measured in both in the same way"
    elif better and worse:
        word, text = "MIXED", f"better in {', '.join(better)}; worse in {', '.join(worse)}"
    elif better or worse:
        word = "IMPROVEMENT" if better else "REGRESSION"
        text = (
            "across all metrics"
            if len(better or worse) == len(scores)
            else f"in {', '.join(better or worse)}; the others did not change or were not measured"
        )
    else:
        word, text = "NO CHANGE", "in any score"
    notes = []
    if not same_measure:
        notes.append("the two were judged by different measures, so their scores do not compare")
    if same_probes is False:
        notes.append(
            "the two were asked different probes, so part of each difference may come from the questions"
        )
    if flips["common"] and flips["lost"] is not None:
        notes.append(
            f"of {flips['common']} probes asked of both, {len(flips['won'])} became right and {len(flips['lost'])} became wrong"
        )
        notes += [
            f"losses in {kind} by chance alone: p = {p:.3g} (exact McNemar)"
            for kind, p in flips["p_worse"].items()
        ]
    return {"word": word, "text": text, "better": better, "worse": worse, "notes": notes}
