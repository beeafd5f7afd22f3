"""The adapters on a generation's line, for the stages that build on its parent's exact 16-bit weights."""

from __future__ import annotations

from pathlib import Path

from luna import artifacts
from luna.history.line import artifact, read_line
from luna.model import adapter
from luna.model.adapter import Adapter
from luna.params import Params

WEIGHTS_SCRATCH = artifacts.SCRATCH / "weights"


def adapters_of(root: Path, names: list[str]) -> list[Adapter]:
    """The adapters of sealed generations, in the order of the names, read where DVC keeps them."""
    found = []
    for name in names:
        config = artifact(root, name, artifacts.ADAPTER / adapter.CONFIG)
        plain = adapter.read(config, None)
        found.append(
            Adapter(plain.scale, artifact(root, name, artifacts.ADAPTER / adapter.WEIGHTS))
            if plain.scale
            else plain
        )
    return found


def line_adapters(root: Path, settings: Params) -> list[Adapter]:
    """The adapters of the parent and its ancestors, oldest first; none for generation 0."""
    if settings.generation.is_ancestor:
        return []
    return adapters_of(
        root,
        read_line(root, settings.generation.identity.prefix).ancestors(settings.generation.parent),
    )
