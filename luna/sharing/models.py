"""Sealed generations by name; the head is followed."""

from __future__ import annotations

from pathlib import Path

from luna.history.line import read_line


def resolve(root: Path, prefix: str, reference: str) -> str:
    """The full name of a generation. Raises InputError naming what there is."""
    return read_line(root, prefix).resolve(reference)
