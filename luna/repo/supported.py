"""Refuses kinds of git repository in which Luna or DVC cannot work."""

from __future__ import annotations

from luna.errors import StateError
from luna.repo import signing
from luna.repo.git import Git


def require_supported(git: Git) -> None:
    """Raises StateError, with what to do, where the repository is of a kind that does not work; nothing is changed."""
    if why := unsupported(git):
        raise StateError(f"{why}; nothing was changed.")


def unsupported(git: Git) -> str | None:
    """Why Luna does not work here, and what to do; None where it does."""
    objects, folder, shared, *above = git.text(
        "rev-parse",
        "--show-object-format",
        "--git-dir",
        "--git-common-dir",
        "--show-superproject-working-tree",
    ).splitlines()
    if objects != "sha1":
        return f"This repository uses {objects} object names, which DVC cannot read: make it again with 'git init --object-format=sha1' and bring the files over"
    if (storage := git.config("extensions.refStorage") or "files") != "files":
        return f"This repository stores its references as '{storage}', which DVC cannot read: run 'git refs migrate --ref-format=files'"
    if above:
        return f"This repository is a submodule of {above[0]}, where DVC's and git's hooks do not work: clone it into a folder of its own, outside of that one"
    if (git.root / folder).resolve() != (git.root / shared).resolve():
        return "This is a linked work tree ('git worktree'), which shares tags but not locks and cache with its main clone: work in that clone, or make a clone of its own with 'git clone'"
    if git.text("config", "--bool", "core.sparseCheckout", check=False) == "true":
        return "Some files of this repository are not checked out ('git sparse-checkout'): 'git sparse-checkout disable' brings them back"
    return None


def require_can_seal(git: Git) -> None:
    """Check before a training what a seal will need from git: a name, and a working key where seals are signed.

    Raises StateError, with the command that helps.
    """
    git.require_identity()
    signing.require_able(git)
