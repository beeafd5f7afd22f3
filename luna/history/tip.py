"""Where this checkout is on the line, the way back to the tip, and the build in progress."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from luna import artifacts
from luna.errors import StateError
from luna.history.line import Line
from luna.names import GenerationName
from luna.params import Params
from luna.repo.git import Git

#: Files that a seal commits: they are a generation's, and no merge may mix those of two.
_SEALED = tuple(
    path.as_posix()
    for path in (artifacts.MODELS, artifacts.LOCK, artifacts.LEDGER, artifacts.PARAMS)
)


class Position(StrEnum):
    """Where the checkout is on the line."""

    TIP = "the tip of the line"
    EMPTY = "nothing is committed yet"
    DETACHED = "the tip of the line, without a branch"
    PAST = "an earlier commit of the line, without a branch"
    BEHIND = "a branch that ends before the newest generation"
    ELSEWHERE = "a branch without the newest generation"
    MIDDLE = "in the middle of a git command that was not finished"
    REWRITTEN = "a branch on which the newest generation's commit was replaced"


@dataclass(frozen=True)
class Where:
    """``branch`` and ``commit`` are what is checked out (None: there is none), ``remedy`` leads back to the tip (None: it is there)."""

    position: Position
    branch: str | None
    commit: str | None
    sentence: str = ""
    remedy: str | None = None


def short_name(branch: str | None) -> str | None:
    """``refs/heads/main`` as a person types it."""
    return branch.removeprefix("refs/heads/") if branch else None


def building(settings: Params, line: Line) -> str | None:
    """The generation that params.yaml names and that is not sealed yet."""
    name = settings.generation.name
    return name if name and all(tag.name != name for tag in line.sealed.values()) else None


def where(line: Line) -> Where:
    """One or two git processes at the tip; a few more elsewhere, to find the way back. Nothing is changed."""
    git, branch = line.git, line.git.branch()
    head = git.try_resolve("HEAD^{commit}")
    if head is None:
        return Where(
            Position.EMPTY,
            branch,
            None,
            "The repository has no commit yet: commit Luna's files first.",
            "git add . && git commit",
        )
    if remedy := _unfinished(git):
        return Where(
            Position.MIDDLE,
            branch,
            head,
            f"git is in the middle of a command that was not finished: '{remedy}' gives it up (or finish it), then run the command again.",
            remedy,
        )
    newest = line.sealed[max(line.sealed)] if line.sealed else None
    if newest is None or newest.commit == head or git.is_ancestor(newest.commit, head):
        if branch is not None:
            return Where(Position.TIP, branch, head)
        remedy = _to_a_branch(git, head)
        return Where(
            Position.DETACHED,
            None,
            head,
            f"No branch is checked out, so a commit would belong to no branch: '{remedy}', then run the command again.",
            remedy,
        )
    if branch is None and git.is_ancestor(head, newest.commit):
        remedy = _to_the_line(git, newest.commit, newest.name)
        return Where(
            Position.PAST,
            None,
            head,
            f"A past generation is checked out: go back to the tip of the line with '{remedy}', then run the command again.",
            remedy,
        )
    if _has_row(git, head, newest.name):
        remedy = _to_the_seal(git, head, newest.commit, newest.name)
        return Where(
            Position.REWRITTEN,
            branch,
            head,
            f"The commit that sealed {newest.name} was amended or rewritten here, but sealed history must not change: '{remedy}' moves the branch back to the sealed commit; then run the command again.",
            remedy,
        )
    behind = git.is_ancestor(head, newest.commit)
    remedy = _to_the_line(git, newest.commit, newest.name)
    return Where(
        Position.BEHIND if behind else Position.ELSEWHERE,
        branch,
        head,
        f"{short_name(branch) or 'What is checked out'} does not hold {newest.name}, the newest generation: '{remedy}', then run the command again, so that the line stays one.",
        remedy,
    )


def require_tip(line: Line) -> str:
    """The branch checked out must hold the newest sealed generation. Returns the branch's full reference.

    Raises StateError with the command that leads back.
    """
    at = where(line)
    if at.position is not Position.TIP or at.branch is None:
        raise StateError(at.sentence)
    return at.branch


def _branches_with(git: Git, commit: str) -> list[str]:
    """Short names of branches here that hold the commit, the one checked out before first, then the remote's default."""
    here = git.text(
        "for-each-ref", f"--contains={commit}", "--format=%(refname:strip=2)", "refs/heads"
    ).splitlines()
    before = short_name(
        git.text("rev-parse", "--symbolic-full-name", "--quiet", "@{-1}", check=False)
    )
    default = git.text("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD", check=False)
    wished = [before, default.removeprefix("refs/remotes/origin/")]
    return sorted(here, key=lambda name: wished.index(name) if name in wished else len(wished))


def _to_the_line(git: Git, commit: str, name: str) -> str:
    """From a commit that does not hold the newest generation to a branch that does; what was changed here is kept by git."""
    return _kept(git) + _switch_to(git, commit, name)


def _kept(git: Git) -> str:
    """What comes before a command that git refuses while files have changes."""
    if not git.changed():
        return ""
    # After a conflict of 'git stash pop', whose stash git keeps.
    return "git reset --merge && " if git.text("ls-files", "--unmerged") else "git stash && "


#: What git keeps in its folder while a command is not finished, and how that is given up.
_UNFINISHED = {
    "MERGE_HEAD": "git merge --abort",
    "rebase-merge": "git rebase --abort",
    "rebase-apply": "git rebase --abort",
    "CHERRY_PICK_HEAD": "git cherry-pick --abort",
    "REVERT_HEAD": "git revert --abort",
}


def _unfinished(git: Git) -> str | None:
    folder = git.root / ".git"
    return next((end for name, end in _UNFINISHED.items() if (folder / name).exists()), None)


def _switch_to(git: Git, commit: str, name: str) -> str:
    if here := _branches_with(git, commit):
        return f"git switch {here[0]}"
    theirs = git.text(
        "for-each-ref",
        f"--contains={commit}",
        "--format=%(refname:strip=3)",
        "refs/remotes",
    ).splitlines()
    theirs = [branch for branch in theirs if branch != "HEAD"]
    local = set(git.text("for-each-ref", "--format=%(refname:strip=2)", "refs/heads").splitlines())
    if fresh := [branch for branch in theirs if branch not in local]:
        return f"git switch {fresh[0]}"  # git makes it, following the remote's
    if git.branch() is not None:
        since = git.text("merge-base", "HEAD", commit, check=False)
        own = git.text("diff", "--name-only", f"{since}..HEAD", check=False).splitlines()
        if not since or any(path.startswith(_SEALED) for path in own):
            # A merge would mix files of two generations.
            return f"git branch before-{git.text('rev-parse', '--short', 'HEAD')} && git reset --hard {name}"
        return f"git merge {name}"
    return f"git switch -c line-of-{name} {name}"


def _to_a_branch(git: Git, head: str) -> str:
    """From a detached HEAD at the tip to a branch that holds it; one is made where there is none."""
    here = _branches_with(git, head)
    return f"git switch {here[0]}" if here else f"git switch -c line-{head[:7]}"


def _has_row(git: Git, revision: str, name: str) -> bool:
    """Whether the ledger of a revision has the row of this very generation."""
    generation = GenerationName.parse(name)
    text = git.show(revision, artifacts.LEDGER)
    return any(
        row.startswith(f"{generation.number},") and row.rstrip().endswith(generation.timestamp)
        for row in (text or b"").decode("utf-8", "replace").splitlines()
    )


def _to_the_seal(git: Git, head: str, sealed: str, name: str) -> str:
    """Back to the sealed commit. What is more than a copy of it stays: files as changes in the workspace, commits on a branch."""
    copy = git.try_resolve(f"{head}^{{tree}}") == git.try_resolve(f"{sealed}^{{tree}}")
    if copy and not git.changed():
        return f"git reset --hard {name}"
    return f"{'' if copy else f'git branch before-{head[:7]} && '}git reset --soft {name}"
