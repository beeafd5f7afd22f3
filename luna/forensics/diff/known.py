"""Reads a generation's small files from its tag; an unreadable file becomes a remark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from luna import artifacts, hashes, strict_yaml
from luna.conversations import taught
from luna.errors import InputError
from luna.hashes import Listed
from luna.history.line import Line, Out, outs_of
from luna.history.lineage import GenerationEntry
from luna.model import evolution
from luna.storage import cache

_DOCUMENTS = (artifacts.METRICS, artifacts.EXPORT_REPORT, artifacts.TRAIN_ARGS)
_FILES = (
    *_DOCUMENTS,
    artifacts.PARAMS,
    artifacts.HASHES,
    artifacts.WEIGHT_CHANGE,
    artifacts.TAUGHT,
    artifacts.LOCK,
    artifacts.PIPELINE,
)


@dataclass(frozen=True)
class Known:
    """``tensors`` and ``taught`` (conversation -> the generation that taught it) are None where they cannot be read. ``marks``: a sentence for each thing that cannot."""

    entry: GenerationEntry
    metrics: Mapping[str, Any]
    export: Mapping[str, Any]
    train: Mapping[str, Any]
    params: Mapping[str, Any]
    hashes: Mapping[str, Listed]
    tensors: list[evolution.Tensor] | None
    taught: Mapping[str, int] | None
    outs: Mapping[str, Out]
    marks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The full name."""
        return str(self.entry.name)

    @property
    def short(self) -> str:
        """The short name, G003."""
        return self.entry.short

    def number(self, *path: str) -> float | None:
        """A finite number of metrics.json, else None."""
        return number(self.metrics, *path)


def number(document: Any, *path: str) -> float | None:
    """The number at a path in a document; None where there is none."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return (
        document
        if isinstance(document, int | float)
        and not isinstance(document, bool)
        and math.isfinite(document)
        else None
    )


def read(line: Line, entries: Sequence[GenerationEntry]) -> list[Known]:
    """All of them in one git process."""
    texts = line.git.cat(
        [f"refs/tags/{entry.name}:{path.as_posix()}" for entry in entries for path in _FILES]
    )
    return [
        _known(entry, dict(zip(_FILES, texts[index * len(_FILES) :], strict=False)))
        for index, entry in enumerate(entries)
    ]


def _known(entry: GenerationEntry, texts: Mapping[Path, bytes | None]) -> Known:
    marks = [entry.fault] if entry.fault else []

    def parsed(path: Path, parse: Any, empty: Any) -> Any:
        try:
            data = texts[path]
            if data is None:
                raise ValueError
            return parse(data)
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
            InputError,
            yaml.YAMLError,
        ):
            marks.append(f"{path.as_posix()} of {entry.short} is missing or cannot be read")
            return empty

    metrics, export, train = (parsed(path, _document, {}) for path in _DOCUMENTS)
    outs = outs_of(b"", b"")
    try:
        outs = outs_of(texts[artifacts.LOCK] or b"", texts[artifacts.PIPELINE] or b"")
    except (KeyError, TypeError, AttributeError, yaml.YAMLError):
        marks.append(f"{artifacts.LOCK} of {entry.short} cannot be read")
    return Known(
        entry,
        metrics,
        export,
        train,
        parsed(
            artifacts.PARAMS,
            lambda data: _mapping(strict_yaml.load_1_1(data)),
            {},
        ),
        parsed(artifacts.HASHES, hashes.loads, {}),
        parsed(artifacts.WEIGHT_CHANGE, lambda data: evolution.loads(data.decode()), None),
        parsed(
            artifacts.TAUGHT,
            lambda data: {row.identity: row.generation for row in taught.loads(data.decode())},
            None,
        ),
        outs,
        marks,
    )


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    return value


def _document(data: bytes) -> dict[str, Any]:
    return _mapping(json.loads(data))


def in_cache(root: Path, known: Known, path: Path) -> Path | None:
    """Where one of its artifacts lies on this machine; None when it would have to come from cold storage first."""
    out = known.outs.get(path.as_posix())
    return cache.find(root, out.md5) if out and out.cached else None
