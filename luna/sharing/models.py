"""Sealed generations as loaded models by name; the head is followed."""

from __future__ import annotations

from pathlib import Path

from luna import artifacts
from luna.answering.engine import Engine
from luna.history.line import artifact, read_line, sealed_params

CONTEXT_TOKENS = 2048


def resolve(root: Path, prefix: str, reference: str) -> str:
    """The full name of a generation. Raises InputError naming what there is."""
    return read_line(root, prefix).resolve(reference)


def load(root: Path, prefix: str, name: str) -> tuple[Engine, str]:
    """The loaded model of a sealed generation, and the system prompt it was taught under.

    Raises ColdStorageError when its bytes are neither in the cache nor intact in cold storage.
    """
    engine = Engine(artifact(root, name, artifacts.MODEL), 1, CONTEXT_TOKENS // 2)
    return engine, sealed_params(read_line(root, prefix).git, name).chat.system_prompt
