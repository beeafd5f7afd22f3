"""A shallow clone becomes a whole one: from a git remote, else from the git objects in cold storage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luna.errors import ColdStorageError
from luna.history import known
from luna.repo.git import Git, GitError
from luna.storage import packs
from luna.storage.cold import Store


def mend(git: Git, available: Sequence[Store]) -> str | None:
    """Bring the commits that the clone lacks. Returns where they came from; None where nobody has them all.

    No reference is changed but by git's own fetch; git's list of cut commits is removed only once every
    commit, tree and file that HEAD stands on is here.
    """
    if remote := known.fetch_remote(git):
        git.attempt("fetch", "--quiet", "--unshallow", "--tags", remote)
        if not known.is_shallow(git):
            return f"the older commits came from {remote}"
    for store in available:
        try:
            # Whose a store is cannot be told while history is cut. Objects alone come, without a reference,
            # and they count only where they join this clone's own commits.
            packs.unpack(store, git)
        except (ColdStorageError, GitError):
            continue
        if _joined(git):
            return f"the older commits came from cold storage '{store.name}'"
    return None


def _joined(git: Git) -> bool:
    """Take the cut away where nothing is lacking behind it."""
    if not packs.is_whole(git, ["HEAD"], past_cut=True):
        return False
    Path(git.text("rev-parse", "--path-format=absolute", "--git-path", "shallow")).unlink()
    return True
