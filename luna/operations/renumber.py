"""`luna seal --renumber`: takes the next number when another clone sealed this one first.

The branch is brought up to the shared one; what this clone is building stays as it is. The name then
changes in params.yaml and models/build.json, and the pipeline writes again what carries it: probes, GGUF, scores, reports,
hashes, ledger row. The parent stays the one that it was trained on, and so does what it is taught: conversations
which came with the other clone's generation wait for the next one. The training is taken over under the new name
(luna/operations/trained.py).

Every step first checks what is there: if it is killed anywhere, the same command resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from luna import artifacts, files, names, params
from luna.errors import StateError
from luna.history import build as builds
from luna.history import record, shared, stores
from luna.history.line import Line, read_line
from luna.history.record import Entry
from luna.history.tip import building, require_tip, where
from luna.operations import workspace
from luna.operations.new import begin, next_name
from luna.repo.git import Git
from luna.storage.cold import Store

#: What the build itself has written or decided: it stays as it is here, whatever the shared branch holds.
_OWN = (
    f"{artifacts.MODELS.as_posix()}/",
    artifacts.PARAMS.as_posix(),
    artifacts.LOCK.as_posix(),
    artifacts.LEDGER.as_posix(),
)
_LINES = (
    f"{artifacts.CONVERSATIONS.as_posix()}/",
    f"{artifacts.CURATED_PROBES.as_posix()}/",
    f"{artifacts.GENERAL_QUESTIONS.as_posix()}/",
)  # a file a line: two clones' additions go together


@dataclass(frozen=True)
class Renumbered:
    """``was`` and ``name`` are equal where the number was still free."""

    was: str
    name: str
    parent: str


def renumber(root: Path, say: Callable[[str], None] = lambda text: None) -> Renumbered | None:
    """Follow the shared branch and give the unfinished generation the next free number. None where none is unfinished.

    Raises:
        StateError: the remote is away, or a file was changed here and there in ways that do not go together.
    """
    root = root.resolve()
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    if building(settings, line) is None:
        return None
    was = settings.generation.identity
    if shared.remote(line.git):
        _follow(line, say)
        line = read_line(root, settings.line.prefix)
    elif ahead := stores.newer(root, line.git):
        _follow_store(line, *ahead, say)
        line = read_line(root, settings.line.prefix)
    require_tip(line)
    if was.number in line.sealed and settings.generation.is_ancestor:
        raise StateError(
            f"Generation 0 is the base itself, and {line.sealed[0].name} is sealed already: run 'luna new --replace' to build on it."
        )
    if was.number not in line.sealed:
        return Renumbered(str(was), str(was), settings.generation.origin)
    build = builds.read(root)
    if build is None:
        raise StateError(
            f"{was} was started by an earlier version of Luna and cannot be renumbered: start it again with 'luna new --replace'."
        )
    name = str(next_name(line))
    begin(
        root,
        line,
        replace(build, name=name, ledger=workspace.require_true_ledger(line), renumbered=True),
    )
    line.git.write_files("HEAD", [artifacts.LEDGER.as_posix()])  # its last row was the old number's
    say(f"{was} is {name} now; its parent stays {build.parent}")
    return Renumbered(str(was), name, build.parent)


# -- following the shared branch, around the files of the build


def _follow(line: Line, say: Callable[[str], None]) -> None:
    git = line.git
    at = where(line)
    if at.branch is None:
        raise StateError(at.sentence)
    branch = at.branch
    remote = shared.fetch(line)
    theirs = git.try_resolve(shared.seen(remote, branch))
    if theirs is not None:
        _go_to(git, theirs, remote, say)


def _follow_store(
    line: Line, store: Store, entries: list[Entry], say: Callable[[str], None]
) -> None:
    """Without a git remote: what another clone sealed into the same cold storage, by the record that lies there."""
    git = line.git
    require_tip(line)
    stores.bring(store, git, entries)
    sealed = [entry for entry in entries if names.is_generation(entry.tag)]
    if sealed:
        newest = max(sealed, key=lambda entry: names.number_of(entry.tag) or 0)
        _go_to(git, newest.commit, f"cold storage '{store.name}'", say)
    stores.adopt(git, record.in_cold(store))


def _go_to(git: Git, theirs: str, remote: str, say: Callable[[str], None]) -> None:
    """Move the branch to ``theirs``, with the commits made here merged; the files of the build stay."""
    if git.is_ancestor(theirs, "HEAD"):
        return
    tip = theirs if git.is_ancestor("HEAD", theirs) else _merged(git, theirs, remote)
    _bring(git, tip, remote)
    git.run("reset", "--quiet", "--mixed", tip)
    say(f"the branch follows '{remote}' to {tip[:12]}")


def _merged(git: Git, theirs: str, remote: str) -> str:
    """A commit that joins the commits made here, which seal nothing, to the shared line; the line comes first."""
    code, tree, output = git.attempt(
        "merge-tree", "--write-tree", "--name-only", "--no-messages", theirs, "HEAD"
    )
    if code:
        clash = (
            tree.splitlines()[1:2]
            if code == 1
            else (output.strip().splitlines() or ["git is older than 2.38"])[-1:]
        )
        raise StateError(
            f"The commits made here and those of '{remote}' conflict ({', '.join(clash)}): merge '{remote}' by hand, then run the same command again; nothing was changed."
        )
    return git.commit_tree(
        tree.strip(), [theirs, git.resolve("HEAD")], f"Merge the line as '{remote}' has it\n"
    )


def _bring(git: Git, tip: str, remote: str) -> None:
    """Bring the workspace's other files to ``tip``; those of the build stay. Nothing is written when one cannot be."""
    listed = (
        git.run("diff", "--no-renames", "--name-only", "-z", "HEAD", tip)
        .decode("utf-8", "surrogateescape")
        .split("\0")
    )
    paths = [path for path in listed if path and not path.startswith(_OWN)]
    changed = set(git.changed())
    tracked = dict(zip(paths, git.cat([f"HEAD:{path}" for path in paths]), strict=True))
    coming = dict(zip(paths, git.cat([f"{tip}:{path}" for path in paths]), strict=True))
    joined: dict[str, bytes] = {}
    plain: list[str] = []
    for path in paths:
        here = (git.root / path).read_bytes() if (git.root / path).is_file() else None
        if here == coming[path]:
            continue
        if path not in changed and (here is None or tracked[path] is not None):
            plain.append(path)
        elif (
            path.startswith(_LINES)
            and path.endswith(".jsonl")
            and here is not None
            and (new := coming[path]) is not None
        ):
            joined[path] = _joined(new, here)
        else:
            raise StateError(
                f"{path} was changed here and in '{remote}': commit or move your own, then run the same command again; nothing was changed."
            )
    for path, content in joined.items():
        with files.replacing(git.root / path) as temporary:
            temporary.write_bytes(content)
    for path in plain:
        if coming[path] is None:
            (git.root / path).unlink(missing_ok=True)
    git.write_files(tip, [path for path in plain if coming[path] is not None])


def _joined(theirs: bytes, ours: bytes) -> bytes:
    """Their lines, then those of ours that they lack."""
    known = theirs.splitlines()
    return b"".join(
        row + b"\n" for row in [*known, *(row for row in ours.splitlines() if row not in known)]
    )
