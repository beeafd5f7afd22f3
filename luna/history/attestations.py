"""attestations/: what is recorded about a generation after its seal, beside it and never in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luna import artifacts, files
from luna.history import backup
from luna.history.line import Line
from luna.history.shared import push
from luna.history.tip import require_tip
from luna.repo.git import Update


def path_of(name: str, what: str) -> Path:
    """``attestations/Luna-G001-.../thinned.json``, relative to the repository."""
    return artifacts.ATTESTATIONS / name / f"{what}.json"


def record(
    root: Path, line: Line, documents: Mapping[Path, dict[str, Any] | None], message: str
) -> str | None:
    """Write documents (None: remove) and commit them, and nothing else, on the branch; then push where the line is pushed, and into cold storage.

    Returns the remote pushed to. A record that is there already in the same words makes no commit.

    Raises:
        StateError: the branch that is checked out is not the line's tip.
    """
    git, branch = line.git, require_tip(line)
    for path, document in documents.items():
        if document is None:
            (root / path).unlink(missing_ok=True)
        else:
            files.write_json(root / path, document)
    tip = git.resolve("HEAD")
    paths = [path.as_posix() for path in documents]
    tree = git.tree_with(paths)
    if tree != git.resolve(f"{tip}^{{tree}}"):
        git.update(
            [Update(branch, git.commit_tree(tree, tip, message), tip)],
            f"luna: {message.splitlines()[0]}",
        )
        git.run("reset", "--quiet", "HEAD", "--", *paths)
    pushed = push(line)
    backup.if_possible(root, git, line.prefix)
    return pushed


def read(line: Line, what: str) -> dict[str, dict[str, Any]]:
    """The documents of one kind by generation, as committed at the tip of the line (whatever is checked out)."""
    names = line.names
    tip = _tip(line)
    if tip is None or not names:
        return {}
    texts = line.git.cat([f"{tip}:{path_of(name, what).as_posix()}" for name in names])
    return {name: json.loads(text) for name, text in zip(names, texts, strict=True) if text}


def _tip(line: Line) -> str | None:
    """HEAD where it holds the newest generation, else a branch that does."""
    newest = line.sealed[max(line.sealed)].commit if line.sealed else None
    if newest is None or line.git.is_ancestor(newest, "HEAD"):
        branch = line.git.branch()
        if branch or newest is None:
            return "HEAD"
    holding = line.git.text(
        "for-each-ref", f"--contains={newest}", "--format=%(refname)", "refs/heads", "refs/remotes"
    ).splitlines()
    return holding[0] if holding else "HEAD"
