"""Conversations kept as a tree, since a question was asked again: the branch that the person kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from luna.importing.draft import Reason, Unusable

Node = Mapping[str, Any]


def branch(
    nodes: Mapping[str, Node], leaf: Any, parent: Callable[[Node], Any]
) -> tuple[list[Node], bool]:
    """The nodes from the root to ``leaf``, and whether the tree has other branches.

    Where no leaf is named, or one that is not there, it is the last node that is nobody's parent. A root's parent
    is not among the nodes. Raises Unusable for a circle, or for nodes that are no objects.
    """
    if not isinstance(nodes, Mapping) or not all(
        isinstance(node, Mapping) for node in nodes.values()
    ):
        raise Unusable(Reason.BROKEN_TREE, "has a tree of messages that is none")
    parents = {key: _key(parent(node)) for key, node in nodes.items()}
    inner = set(parents.values())
    leaves = [key for key in nodes if key not in inner]
    at = _key(leaf)
    if at not in nodes:
        if not leaves:
            raise Unusable(Reason.BROKEN_TREE, "has messages that follow each other in a circle")
        at = leaves[-1]
    path: list[Node] = []
    passed: set[str] = set()
    while at in nodes:
        if at in passed:
            raise Unusable(Reason.BROKEN_TREE, "has messages that follow each other in a circle")
        passed.add(at)
        path.append(nodes[at])
        at = parents[at]
    return path[::-1], len(path) < len(nodes)


def _key(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
