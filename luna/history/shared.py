"""The git remote that clones share a line through; it decides which of two seals was first.

A seal is pushed to it before any reference here changes. Of two clones that seal at once the remote takes
one, since a push of branch, tags and record is atomic and goes forward only; the other has changed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luna import artifacts, names
from luna.errors import StateError
from luna.history import record
from luna.history.line import Line
from luna.names import head_tag
from luna.repo.git import Git, GitError, Update

PUSH_REMOTE = (
    "luna.pushRemote"  # git config: the git remote that 'luna seal' pushes to; unset: none
)


class Overtaken(StateError):
    """Another clone has sealed, moved the head or committed on the shared line meanwhile."""


def fetch_refspecs(remote: str, prefix: str) -> tuple[str, ...]:
    """Branches and the head may move; a generation's tag or a record that changed is refused (no leading +).

    The head is asked for by a pattern: a reference asked for by its whole name fails every fetch from a
    repository that does not have it.
    """
    head = f"refs/tags/{head_tag(prefix)}*"
    return (
        f"+refs/heads/*:refs/remotes/{remote}/*",
        f"+{head}:{head}",
        "refs/tags/*:refs/tags/*",
        "refs/luna/*:refs/luna/*",
    )


def remote(git: Git) -> str | None:
    """The git remote that seals are pushed to; None where none is set."""
    return git.config(PUSH_REMOTE)


def ask(git: Git) -> dict[str, str] | None:
    """The shared repository's references by full name; None where the line is not shared or the remote is away."""
    remote_name = remote(git)
    try:
        return _references(git, remote_name) if remote_name else None
    except GitError:
        return None


def _references(git: Git, remote_name: str) -> dict[str, str]:
    return {
        name: value
        for value, name in (
            row.split("\t") for row in git.text("ls-remote", remote_name).splitlines()
        )
    }


def holds(git: Git, name: str, theirs: dict[str, str] | None) -> bool:
    """Whether the shared repository has sealed this very generation, not another one that was begun under the same name in the same second."""
    ref = f"refs/tags/{name}"
    if not _brought(git, ref, theirs):
        return False
    [lock] = git.cat([f"{theirs[ref]}:{artifacts.LOCK.as_posix()}"])
    return lock is not None and lock == (git.root / artifacts.LOCK).read_bytes()


def holds_commit(
    git: Git, branch: str, theirs: dict[str, str] | None, tree: str, parent: str
) -> bool:
    """Whether the shared branch is one commit further than ``parent``, and that commit has this very tree."""
    tip = (theirs or {}).get(branch)
    if tip in (None, parent) or not _brought(git, branch, theirs):
        return False
    return (git.resolve(f"{tip}^{{tree}}"), git.resolve(f"{tip}^1")) == (tree, parent)


def _brought(git: Git, ref: str, theirs: dict[str, str] | None) -> bool:
    """Whether the shared repository has the reference, and its objects are here now; no reference here is changed."""
    if ref not in (theirs or {}):
        return False
    try:
        git.run(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=", remote(git), ref
        )
    except GitError:
        return False
    return True


def holds_move(git: Git, tag: str, message: str, theirs: dict[str, str] | None) -> bool:
    """Whether the shared repository has this very move of the head, which is not one here yet."""
    ref = f"refs/tags/{tag}"
    if not _brought(git, ref, theirs):
        return False
    [body] = git.cat([theirs[ref]])
    return (body or b"").decode("utf-8", "replace").partition("\n\n")[2].startswith(message)


def require_not_overtaken(git: Git, branch: str | None, theirs: dict[str, str] | None) -> None:
    """Raises Overtaken where the shared record, or the shared branch where one is asked about, holds what is not here."""
    own = git.resolve(record.REF)
    known = ({branch: "HEAD"} if branch else {}) | ({record.REF: own} if own else {})
    if any(
        ref in (theirs or {}) and not git.is_ancestor(theirs[ref], mine)
        for ref, mine in known.items()
    ):
        raise Overtaken(
            f"'{remote(git)}' is ahead: another clone has sealed or committed there. Nothing was sealed here; "
            "'luna seal --renumber' follows it, takes the next free number, and does not train again."
        )


def offer(line: Line, branch: str | None, updates: Sequence[Update]) -> None:
    """Push a seal, a hand-over or a move of the head (no ``branch``) that is not yet one here. Where the remote is away nothing happens: it is made here, and pushed another time.

    Raises:
        Overtaken: another clone was first.
        StateError: the remote refuses it for a reason of its own.
    """
    git = line.git
    if ask(git) is None:
        return
    try:
        # By its address: a push by name would write what the refspecs of 'luna init' name here too, one reference after the other.
        _push(
            line,
            git.text("remote", "get-url", "--push", remote(git), check=False) or remote(git),
            branch,
            updates,
        )
    except GitError as error:
        theirs, last = ask(git), branch or record.REF
        if theirs is None or theirs.get(last) == next(
            item.new for item in updates if item.ref == last
        ):
            return  # away since then, or it has arrived although the connection broke
        require_not_overtaken(git, branch, theirs)
        raise StateError(
            f"'{remote(git)}' did not take it ({error}): nothing was changed; correct that, then run the same command again."
        ) from None


def push(line: Line, with_branch: bool = True) -> str | None:
    """Push what the shared repository lacks, all or none; None where the line is not shared.

    Nothing is pushed from a detached HEAD, unless it is ``with_branch`` False: then tags and record alone. The tags
    that it lacks go along, whichever generation they are of: a push that failed before is made good.
    """
    git, remote_name = line.git, remote(line.git)
    branch = git.branch() if with_branch else None
    if not remote_name or (with_branch and not branch):
        return None
    try:
        _push(line, remote_name, branch)
        if branch:
            last, tip = seen(remote_name, branch), git.resolve("HEAD")
            if (was := git.resolve(last)) not in (None, tip) and git.is_ancestor(was, tip):
                git.update([Update(last, tip, was)], "luna: pushed")
    except GitError as error:
        raise StateError(
            f"Everything is sealed here, but '{remote_name}' did not take it ({error}): correct that, then run 'luna seal' again."
        ) from None
    return remote_name


def seen(remote_name: str, branch: str) -> str:
    """Where git keeps what it last saw of the remote's branch."""
    return f"refs/remotes/{remote_name}/{branch.removeprefix('refs/heads/')}"


def _push(line: Line, remote_name: str, branch: str | None, updates: Sequence[Update] = ()) -> None:
    git = line.git
    theirs = _references(git, remote_name)
    head = f"refs/tags/{head_tag(line.prefix)}"
    tags = {
        f"refs/tags/{name}": tag.object
        for name, tag in line.all_tags.items()
        if not names.is_head(name)
    }
    moving = {
        record.REF: git.resolve(record.REF),
        head: line.head.object if line.head else None,
    } | ({branch: git.resolve("HEAD")} if branch else {})
    for item in updates:
        (moving if item.ref in moving else tags)[item.ref] = item.new
    wanted = [f"{new}:{ref}" for ref, new in tags.items() if ref not in theirs]
    if branch in theirs and git.is_ancestor(moving[branch], theirs[branch]):
        del moving[branch]  # another clone has newer commits, and this clone has them too
    wanted += [
        f"{'+' if ref == head else ''}{new}:{ref}"
        for ref, new in moving.items()
        if new and theirs.get(ref) != new
    ]
    if wanted:
        # The data is proven to be in cold storage: DVC's own pre-push hook would only ask again.
        git.run("push", "--quiet", "--atomic", "--no-verify", remote_name, *wanted)


def has_tags(git: Git, remote_name: str, commits: Mapping[str, str]) -> bool:
    """Whether the remote has a tag of each name on just this commit: then it is a copy of this line, and not another one."""
    try:
        theirs = _references(git, remote_name)
    except GitError:
        return False
    return bool(commits) and all(
        theirs.get(f"refs/tags/{name}^{{}}") == commit for name, commit in commits.items()
    )


def fetch_history(line: Line, remote_name: str) -> None:
    """Tags, head and record of a remote, and no branch. What is here already is never replaced, but for the head. Raises GitError."""
    line.git.run(
        "fetch", "--quiet", "--no-tags", remote_name, *fetch_refspecs(remote_name, line.prefix)[1:]
    )


def fetch(line: Line) -> str:
    """Everything of the shared line, by the refspecs of 'luna init'. Returns the remote's name.

    Raises:
        StateError: the remote is away, or has changed a tag of history.
    """
    remote_name = remote(line.git)
    if not remote_name:
        raise StateError(
            "No shared repository is set: 'git config luna.pushRemote NAME' says which git remote it is."
        )
    try:
        line.git.run(
            "fetch", "--quiet", "--no-tags", remote_name, *fetch_refspecs(remote_name, line.prefix)
        )
    except GitError as error:
        raise StateError(
            f"'{remote_name}' could not be fetched ({error}): correct that, then run the same command again; nothing was changed."
        ) from None
    return remote_name
