"""The git remote that clones share a line through; it decides which of two seals was first.

A seal is pushed to it before any reference here changes. Of two clones that seal at once the remote takes
one, since a push of branch, tags and record is atomic and goes forward only; the other has changed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Shared:
    """The shared repository as it is now: the git remote's name, and its references by full name."""

    remote: str
    references: Mapping[str, str]


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


def ask(git: Git) -> Shared | None:
    """The shared repository; None where the line is not shared or the remote is away."""
    name = remote(git)
    try:
        return Shared(name, _references(git, name)) if name else None
    except GitError:
        return None


def _references(git: Git, remote_name: str) -> dict[str, str]:
    return {
        name: value
        for value, name in (
            row.split("\t") for row in git.text("ls-remote", remote_name).splitlines()
        )
    }


def holds(git: Git, name: str, theirs: Shared | None) -> bool:
    """Whether the shared repository has sealed this very generation, not another one that was begun under the same name in the same second."""
    tag = _brought(git, f"refs/tags/{name}", theirs)
    if tag is None:
        return False
    lock = git.show(tag, artifacts.LOCK)
    return lock is not None and lock == (git.root / artifacts.LOCK).read_bytes()


def holding(git: Git, branch: str, theirs: Shared | None, tree: str, parent: str) -> str | None:
    """The tip of the shared branch where it is one commit further than ``parent`` and has this very tree; else None."""
    if theirs is None or theirs.references.get(branch) == parent:
        return None
    tip = _brought(git, branch, theirs)
    same = tip and (git.try_resolve(f"{tip}^{{tree}}"), git.try_resolve(f"{tip}^1")) == (
        tree,
        parent,
    )
    return tip if same else None


def _brought(git: Git, ref: str, theirs: Shared | None) -> str | None:
    """What the shared repository's reference names, whose objects are here now; None where it has none. No reference here is changed."""
    value = theirs.references.get(ref) if theirs else None
    if theirs is None or value is None:
        return None
    try:
        git.run(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--refmap=",
            theirs.remote,
            ref,
        )
    except GitError:
        return None
    return value


def holds_move(git: Git, tag: str, message: str, theirs: Shared | None) -> bool:
    """Whether the shared repository has this very move of the head, which is not one here yet."""
    move = _brought(git, f"refs/tags/{tag}", theirs)
    if move is None:
        return False
    return git.tag_body(move).message.startswith(message)


def require_not_overtaken(git: Git, branch: str | None, theirs: Shared | None) -> None:
    """Raises Overtaken where the shared record, or the shared branch where one is asked about, holds what is not here."""
    if theirs is None:
        return
    own = git.try_resolve(record.REF)
    known = ({branch: "HEAD"} if branch else {}) | ({record.REF: own} if own else {})
    if any(
        ref in theirs.references and not git.is_ancestor(theirs.references[ref], mine)
        for ref, mine in known.items()
    ):
        raise Overtaken(
            f"'{theirs.remote}' is ahead: another clone has sealed or committed there. Nothing was sealed here; "
            "'luna seal --renumber' follows it, takes the next free number, and does not train again."
        )


def offer(line: Line, branch: str | None, updates: Sequence[Update]) -> None:
    """Push a seal, a hand-over or a move of the head (no ``branch``) that is not yet one here. Where the remote is away nothing happens: it is made here, and pushed another time.

    Raises:
        Overtaken: another clone was first.
        StateError: the remote refuses it for a reason of its own.
    """
    git = line.git
    theirs = ask(git)
    if theirs is None:
        return
    name = theirs.remote
    try:
        # By its address: a push by name would write what the refspecs of 'luna init' name here too, one reference after the other.
        address = git.text("remote", "get-url", "--push", name, check=False) or name
        _push(line, address, branch, updates)
    except GitError as error:
        theirs, last = ask(git), branch or record.REF
        if theirs is None or theirs.references.get(last) == next(
            item.new for item in updates if item.ref == last
        ):
            return  # away since then, or it has arrived although the connection broke
        require_not_overtaken(git, branch, theirs)
        raise StateError(
            f"'{name}' did not take it ({error}): nothing was changed; correct that, then run the same command again."
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
            was = git.try_resolve(last)
            if was is not None and was != tip and git.is_ancestor(was, tip):
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
    own = git.try_resolve(record.REF)
    moving = {record.REF: own} if own else {}
    if line.head:
        moving[head] = line.head.object
    if branch:
        moving[branch] = git.resolve("HEAD")
    for item in updates:
        (moving if item.ref in (record.REF, head, branch) else tags)[item.ref] = item.new
    wanted = [f"{new}:{ref}" for ref, new in tags.items() if ref not in theirs]
    if branch and branch in theirs and git.is_ancestor(moving[branch], theirs[branch]):
        del moving[branch]  # another clone has newer commits, and this clone has them too
    wanted += [
        f"{'+' if ref == head else ''}{new}:{ref}"
        for ref, new in moving.items()
        if theirs.get(ref) != new
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
