"""Quarantine: where damaged files are put before they are replaced; nothing is deleted."""

from __future__ import annotations

import shutil
from pathlib import Path

from luna import artifacts, files


def aside(root: Path, path: Path, label: str) -> Path:
    """Move a file to quarantine/, under ``label``, with a number if that name is taken. Returns the new path.

    A kill leaves it in one of the two places, or in both across file systems; never in none.
    """
    target = _free(root, label)
    try:
        path.rename(target)
    except OSError:  # another file system
        copy(root, path, label)
        path.unlink()
    return target


def copy(root: Path, path: Path, label: str) -> Path:
    """Keep a copy of a file that is about to be replaced in its place."""
    target = _free(root, label)
    with files.replacing(target) as temporary:
        shutil.copyfile(path, temporary)
    return target


def _free(root: Path, label: str) -> Path:
    folder = root / artifacts.QUARANTINE
    folder.mkdir(exist_ok=True)
    name = label.replace("/", "_")
    number = 0
    while (target := folder / (f"{name}.{number}" if number else name)).exists():
        number += 1
    return target
