"""What the weights of parent and child are made of, for stages: read where DVC keeps it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from luna import artifacts
from luna.history.build import Ancestor, Build, Keyframe, MergeRule
from luna.history.line import artifact, outs_at
from luna.model import adapter
from luna.model.adapter import Adapter
from luna.model.merge import Recipe
from luna.storage import objects

WEIGHTS_SCRATCH = artifacts.SCRATCH / "weights"


def recipe(rule: MergeRule, fixed: Path, adapters: Sequence[Adapter]) -> Recipe:
    """The adapters on the fixed point, rounded as the rule says."""
    rounds = [adapters] if rule is MergeRule.ONCE else [[one] for one in adapters]
    return Recipe(fixed, tuple(tuple(some) for some in rounds))


def adapters_of(root: Path, generations: Sequence[Ancestor]) -> list[Adapter]:
    """The adapters of sealed generations, in their order."""
    adapters = []
    for one in generations:

        def file(path: str, one: Ancestor = one) -> Path:
            return artifact(root, one.name, artifacts.ADAPTER / path, one.commit)

        plain = adapter.read(file(adapter.CONFIG), None)
        adapters.append(Adapter(plain.scale, file(adapter.WEIGHTS)) if plain.scale else plain)
    return adapters


def of_parent(root: Path, build: Build) -> Recipe:
    """What the parent's weights are made of; generation 0 has the base's."""
    return _with(root, build, [])


def of_child(root: Path, build: Build, own: Adapter) -> Recipe:
    """What the weights of the generation that is being built are made of, its ``own`` adapter being the last."""
    return _with(root, build, [own])


def _with(root: Path, build: Build, own: list[Adapter]) -> Recipe:
    fixed = root / (artifacts.KEYFRAME if build.keyframe else artifacts.BASE)
    return recipe(build.merge_rule, fixed, [*adapters_of(root, build.summed), *own])


def of_keyframe(root: Path, keyframe: Keyframe, scratch: Path) -> Recipe:
    """What a keyframe's weights are made of. The keyframe before it is copied into ``scratch``, checked by hash."""
    fixed = root / artifacts.BASE
    if keyframe.before:
        fixed = scratch / artifacts.KEYFRAME.name
        fixed.mkdir()
        out = outs_at(root, keyframe.name, keyframe.commit)[artifacts.KEYFRAME.as_posix()]
        for relative, md5 in objects.listing(root, out.md5).items():
            shutil.copyfile(objects.whole(root, md5)[0], fixed / relative)
    return recipe(keyframe.rule, fixed, adapters_of(root, keyframe.adapters))
