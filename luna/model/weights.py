"""Rebuilds a generation's 16-bit weights from base and adapters, in scratch."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from luna import files
from luna.model.adapter import Adapter
from luna.model.merge import Change, merge

_KEPT = 2  # the parent's and the child's


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, size: int, modified: int) -> str:
    return files.digest(path)


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest(path.resolve(), status.st_size, status.st_mtime_ns)


def key(base: Path, adapters: Sequence[Adapter] = ()) -> str:
    """What merged weights depend on: the base's files, and each adapter's scale and bytes in their order."""
    total = hashlib.sha256()
    for path in sorted(base.iterdir()):
        total.update(f"{path.name} {_file_digest(path)}\n".encode())
    for adapter in adapters:
        if adapter.weights is not None:
            total.update(f"{adapter.scale!r} {_file_digest(adapter.weights)}\n".encode())
    return total.hexdigest()


def rebuild(base: Path, adapters: Sequence[Adapter], scratch: Path) -> Path:
    """The model folder of base + adapters, merged on from the longest part of the line that scratch holds."""
    taught = [adapter for adapter in adapters if adapter.weights is not None]
    places = [base, *(scratch / key(base, taught[: count + 1]) for count in range(len(taught)))]
    have = max(index for index, folder in enumerate(places) if folder.is_dir())
    if have < len(taught):
        _merge_into(places[-1], places[have], taught[have:], measure=False)
    if places[-1] != base:
        os.utime(places[-1])
    return places[-1]


def add(parent: Path, adapter: Adapter, folder: Path) -> Change:
    """Merge one adapter into the parent's weights and measure the change; ``folder`` appears complete or not at all."""
    return _merge_into(folder, parent, [adapter], measure=True)


def _merge_into(folder: Path, base: Path, adapters: Sequence[Adapter], measure: bool) -> Change:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        change = merge(base, adapters, partial, measure=measure)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return change


def prune(scratch: Path) -> None:
    """Keep the newest weights only: all others can be rebuilt."""
    places = sorted(
        (path for path in scratch.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime
    )
    for path in places[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
