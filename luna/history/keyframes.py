"""Which generation's weights are a fixed point (a keyframe), and what sealed weights are made of.

Generation 0 is a keyframe. So is a generation whose weights are the sum of ``line.keyframe_every`` adapters, as soon as
another is built on it. That one has these weights as an output, models/keyframe, and so have all that follow until the
next keyframe: the same bytes, stored once. Adapters are counted along the parents, so denied generations and rollbacks
do not change the count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luna import artifacts
from luna.errors import StateError
from luna.history import build as builds
from luna.history.build import Ancestor, Build, Keyframe, MergeRule
from luna.history.line import Line, sealed_outs


@dataclass(frozen=True)
class MadeOf:
    """What a sealed generation's weights are made of, by ``rule``: the ``keyframe`` (None: the base), and the adapters of ``generations``, oldest first."""

    rule: MergeRule
    keyframe: Keyframe | None
    generations: tuple[str, ...]


def made_of(line: Line, name: str) -> MadeOf:
    """As the generation's seal records it. Raises StateError where the line is broken, or the record is not of this line."""
    build = builds.sealed(line.git, name)
    rule = build.merge_rule if build else MergeRule.EACH
    keyframe = build.keyframe if build else None
    chain = line.ancestors(name)
    if keyframe and keyframe.name not in chain:
        raise StateError(
            f"The weights of {name} are built on {keyframe.name}, which is none of its ancestors: run 'luna verify'."
        )
    return MadeOf(rule, keyframe, tuple(chain[chain.index(keyframe.name) + 1 if keyframe else 1 :]))


@dataclass(frozen=True)
class Input:
    """An output of the sealed generation ``name`` that its own or a child's weights are made of; ``md5`` is its recorded hash."""

    name: str
    path: str
    md5: str


def inputs(line: Line, name: str) -> list[Input]:
    """All outputs that a generation's weights are made of: the base, the keyframe, and the adapters added to it."""
    made = made_of(line, name)
    folders = [artifacts.BASE, *([artifacts.KEYFRAME] if made.keyframe else [])]
    wanted = [(name, path.as_posix()) for path in folders]
    wanted += [(one, artifacts.ADAPTER.as_posix()) for one in made.generations]
    root = line.git.root.resolve()
    return [Input(whose, path, sealed_outs(root, whose)[path].md5) for whose, path in wanted]


def choose(line: Line, ancestors: Sequence[Ancestor], every: int) -> Keyframe | None:
    """The keyframe of a new generation whose parent is the last of ``ancestors``: the parent's own, or the parent itself when it is the sum of ``every`` adapters.

    A parent that was sealed under the first rule becomes one at once, since its weights must stay what they are.
    """
    if len(ancestors) < 2:  # generation 0 is the base itself
        return None
    return after(made_of(line, ancestors[-1].name), ancestors, every)


def after(made: MadeOf, ancestors: Sequence[Ancestor], every: int) -> Keyframe | None:
    """As ``choose``; ``made`` is what the weights of the last of ``ancestors`` are made of."""
    if made.rule is MergeRule.ONCE and len(made.generations) < every:
        return made.keyframe
    parent = ancestors[-1]
    commits = {one.name: one.commit for one in ancestors}
    return Keyframe(
        parent.name,
        parent.commit,
        made.rule,
        made.keyframe.name if made.keyframe else None,
        tuple(Ancestor(name, commits[name]) for name in made.generations),
    )


def require(line: Line, build: Build) -> None:
    """Raises StateError where a build's keyframe is neither its parent's nor its parent, as the seals tell them."""
    if build.merge_rule is MergeRule.EACH:
        right = not build.ancestors[1:] or (
            made_of(line, build.parent).rule is MergeRule.EACH and build.keyframe is None
        )
    else:
        right = build.keyframe in (
            choose(line, build.ancestors, 1),
            choose(line, build.ancestors, len(build.ancestors) + 1),
        )
    if not right:
        raise StateError(
            f"{artifacts.BUILD} names another keyframe of {build.name} than the seals do: begin it again with 'luna new --replace'; nothing was sealed."
        )
