"""Makes a generation's 16-bit weights again from a fixed point and adapters, in scratch."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from pathlib import Path

from luna import files
from luna.model.merge import Change, Recipe, merge

_KEPT = 2  # the parent's and the child's


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, size: int, modified: int) -> str:
    return files.digest(path)


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest(path.resolve(), status.st_size, status.st_mtime_ns)


def key(folder: Path) -> str:
    """SHA-256 over a model folder's files."""
    return _keys(Recipe(folder))[0]


def _keys(recipe: Recipe) -> list[str]:
    """What merged weights depend on, after none of the rounds, after one, after two ..: each file is hashed once.

    A merged folder is called so, and llama.cpp's converter may take its general.finetune from that name: keys of lines that
    are rounded after each adapter must stay what they were.
    """
    total = hashlib.sha256()
    for path in sorted(recipe.fixed.iterdir()):
        total.update(f"{path.name} {_file_digest(path)}\n".encode())
    keys = [total.hexdigest()]
    for some in recipe.rounds:
        if len(some) > 1:
            total.update(f"sum of {len(some)}\n".encode())
        for adapter in some:
            if adapter.weights is None:
                continue
            total.update(f"{adapter.scale!r} {_file_digest(adapter.weights)}\n".encode())
        keys.append(total.hexdigest())
    return keys


def rebuild(recipe: Recipe, scratch: Path) -> Path:
    """The model folder that the recipe makes, gone on with from as many whole rounds as scratch holds."""
    recipe = recipe.taught
    rest, out = _start(recipe, scratch, len(recipe.rounds))
    if rest.rounds:
        _merge_into(out, rest)
    if out != recipe.fixed:
        os.utime(out)
    return out


def child(recipe: Recipe, parent: Path, scratch: Path) -> tuple[Path, Change]:
    """The model folder that the recipe makes, and how its last adapter moved the weights of the folder ``parent``."""
    recipe = recipe.taught
    rest, out = _start(recipe, scratch, len(recipe.rounds) - 1)
    return out, _merge_into(out, rest, parent)


def _start(recipe: Recipe, scratch: Path, most: int) -> tuple[Recipe, Path]:
    """What is left to be done after the rounds that scratch holds (``most`` of them), and the folder that it makes."""
    folders = [recipe.fixed, *(scratch / name for name in _keys(recipe)[1:])]
    have = max(index for index, folder in enumerate(folders[: most + 1]) if folder.is_dir())
    return Recipe(folders[have], recipe.rounds[have:]), folders[-1]


def _merge_into(out: Path, recipe: Recipe, parent: Path | None = None) -> Change:
    """``out`` appears whole or not at all."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        change = merge(recipe, partial, parent)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return change


def prune(scratch: Path) -> None:
    """Keep the newest weights only: all others can be rebuilt."""
    folders = sorted(
        (path for path in scratch.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime
    )
    for path in folders[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
