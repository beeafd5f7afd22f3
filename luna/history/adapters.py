"""The adapters on a generation's line, for stages that need the parent's exact weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luna import artifacts
from luna.history.build import Ancestor, Build
from luna.history.line import artifact
from luna.model import adapter
from luna.model.adapter import Adapter

WEIGHTS_SCRATCH = artifacts.SCRATCH / "weights"


def adapters_of(root: Path, ancestors: Sequence[Ancestor]) -> list[Adapter]:
    """The adapters of sealed generations, in their order, read where DVC keeps them."""
    adapters = []
    for one in ancestors:

        def file(path: str, one: Ancestor = one) -> Path:
            return artifact(root, one.name, artifacts.ADAPTER / path, one.commit)

        plain = adapter.read(file(adapter.CONFIG), None)
        adapters.append(Adapter(plain.scale, file(adapter.WEIGHTS)) if plain.scale else plain)
    return adapters


def line_adapters(root: Path, build: Build) -> list[Adapter]:
    """The adapters of the parent and its ancestors, oldest first; none for generation 0."""
    return adapters_of(root, build.ancestors)
