"""A checkout made by Luna, noted before it begins, so that a killed one is finished later.

git writes the files first, then its index, then HEAD. A kill in between leaves another commit's files, or
staged deletions, which look like the user's changes and are not.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from luna import artifacts, files
from luna.repo import quarantine
from luna.repo.git import Git

NOTE = artifacts.SCRATCH / "checkout.json"
_OWN = {"LUNA_CHECKOUT": "1"}  # shows the post-checkout hook that Luna makes the checkout


@dataclass(frozen=True)
class Note:
    """From commit ``before`` to ``target``, that of a ``generation``; ``move`` is the move of the head that it belongs to, ``command`` what finishes it."""

    generation: str
    before: str
    target: str
    move: int
    reason: str

    @property
    def command(self) -> str:
        """The command that finishes the checkout."""
        return f"luna rollback {self.generation} --reason {shlex.quote(self.reason)}"


def begin(git: Git, note: Note) -> None:
    """Note that a checkout begins."""
    files.write_json(git.root / NOTE, asdict(note))


def end(git: Git) -> None:
    """Remove that note."""
    (git.root / NOTE).unlink(missing_ok=True)


def unfinished(git: Git) -> Note | None:
    """The checkout that was begun and not ended; None also where somebody has checked out another commit since."""
    path = git.root / NOTE
    try:
        note = Note(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return note if git.try_resolve("HEAD^{commit}") in (note.before, note.target) else None


def check_out(git: Git, revision: str) -> None:
    """With DVC's hook, which brings what DVC keeps. Raises GitError where files in the workspace are in the way."""
    git.run("checkout", "--quiet", revision, env=_OWN)


def complete(git: Git, note: Note) -> list[str]:
    """Bring files and index to ``target`` where a checkout from ``before`` was interrupted; ``check_out`` then moves HEAD.

    A file between the two is as it was in ``before``, as it is in ``target``, a beginning of that, or gone: then it is git's
    work. Any other was changed by a person since; it is copied into quarantine first. Returns the paths of those.
    """
    listed = git.run("diff", "--no-renames", "--name-only", "-z", note.before, note.target).decode(
        "utf-8", "surrogateescape"
    )
    paths = [path for path in listed.split("\0") if path]
    old = git.cat([f"{note.before}:{path}" for path in paths])
    new = git.cat([f"{note.target}:{path}" for path in paths])
    own = []
    for path, was, wanted in zip(paths, old, new, strict=True):
        here = git.root / path
        content = here.read_bytes() if here.is_file() and not here.is_symlink() else None
        if content is not None and content != was and not (wanted or b"").startswith(content):
            quarantine.copy(git.root, here, path)
            own.append(path)
        if wanted is None:
            here.unlink(missing_ok=True)
            _remove_empty(here.parent, git.root)
    git.write_files(
        note.target, [path for path, wanted in zip(paths, new, strict=True) if wanted is not None]
    )
    git.run("read-tree", note.target)
    git.attempt("update-index", "-q", "--refresh")
    return own


def _remove_empty(folder: Path, root: Path) -> None:
    with contextlib.suppress(OSError):  # not empty
        while folder != root:
            folder.rmdir()
            folder = folder.parent
