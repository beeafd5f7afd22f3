"""luna seal: make a finished pipeline run history.

The order is the promise: the data is in cold storage and has been read back, then the commit, the
generation's tag and the head come into being in one transaction, then branch and tags are pushed in
one atomic push. Killed anywhere, the same command finds what is done and goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts, files, names, params
from luna.errors import StateError
from luna.history import cache, cold, layout, record
from luna.history.git import ZERO, GitError, Tag, Update
from luna.history.line import Line, Out, message_fields, outs_of, read_line, sealed_outs
from luna.history.new import building, require_tip
from luna.names import GenerationName, assignment_tag, head_tag, version_tag


@dataclass(frozen=True)
class Sealed:
    """``created`` is False when the generation had been sealed before and nothing was left to do."""

    name: str
    promoted: bool
    head: str | None
    uploaded: int
    pushed_to: str | None
    created: bool


def seal(root: Path, tick: Callable[[str], None] = lambda step: None) -> Sealed:
    """Raises StateError when the pipeline is not finished, ColdStorageError when the data cannot be proven safe."""
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    name = settings.generation.identity
    if building(settings, line) is None:
        return _finish(root, line, str(name))
    if name.number in line.sealed:
        raise StateError(f"Generation {name.number} is already sealed as {line.sealed[name.number].name}: run 'luna new --replace' to take the next number.")
    require_not_overtaken(line, require_tip(line))
    outs = _finished_outs(root)
    metrics = files.read_json(root / artifacts.METRICS)
    if metrics["generation"]["name"] != str(name):
        raise StateError(f"The pipeline's results are {metrics['generation']['name']}'s, not {name}'s: run 'dvc repro', then 'luna seal'.")

    tick("archiving")
    uploaded = archive_outs(root, line, outs, tick)
    record.ensure(line.git, lambda: cold.open_store(root))
    tick("committing")
    _commit(root, line, name, metrics)
    done = _finish(root, read_line(root, settings.line.prefix), str(name))
    return Sealed(done.name, done.promoted, done.head, uploaded, done.pushed_to, True)


def require_not_overtaken(line: Line, branch: str) -> None:
    """Where the line is shared, the shared branch decides: a number that another clone has sealed there is taken."""
    remote = line.git.config(layout.PUSH_REMOTE)
    if not remote:
        return
    try:
        theirs = line.git.text("ls-remote", remote, branch).split("\t")[0]
    except GitError:
        return  # away: it is sealed here, and the push says what is left to do
    if theirs and not line.git.is_ancestor(theirs, "HEAD"):
        raise StateError(f"'{remote}' has moved on: another clone has sealed or committed there. Nothing was sealed here; look at it with 'git fetch {remote}', bring this branch up to it, then run 'luna new --replace'.")


def _finished_outs(root: Path) -> dict[str, Out]:
    """Outputs of a pipeline that is finished and unchanged since; DVC itself is asked."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not (root / artifacts.LOCK).exists():
        raise StateError("The pipeline has not run: run 'dvc repro', then 'luna seal'.")
    try:
        status = Repo(str(root)).status()
    except DvcException as error:
        raise StateError(f"DVC cannot read the pipeline: {error}") from None
    if status:
        raise StateError(f"The pipeline is not finished (stage '{next(iter(status))}' is out of date): run 'dvc repro', then 'luna seal'.")
    return outs_of((root / artifacts.LOCK).read_bytes(), (root / artifacts.PIPELINE).read_bytes())


def kept(outs: dict[str, Out]) -> list[str]:
    """Hashes of the outputs that DVC keeps; those that git keeps need no cold storage."""
    return [out.md5 for out in outs.values() if out.cached]


def archive_outs(root: Path, line: Line, outs: dict[str, Out], tick: Callable[[str], None]) -> int:
    """Into every store of cold storage; as many as ``cold.copies`` must have given all back. Returns how many were uploaded."""
    proven = cache.objects(root, kept(sealed_outs(root, line.newest))) if line.newest else []
    return cold.archive_in_all(root, cache.objects(root, kept(outs)), proven, tick)


def message(name: GenerationName, metrics: dict[str, Any], weights: str, ledger: str, record_tip: str | None = None) -> str:
    """What a generation's commit and tag say; ``weights``, ``ledger`` and ``record_tip`` are SHA-256 digests."""
    scores, decision = metrics["evaluation"], metrics["decision"]

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    verdict = "promoted" if decision["promoted_to_head"] else "denied"
    learnt, left = metrics["data"]["karma"], metrics["data"]["karma_left"]
    return (
        f"{name}: {verdict}\n\n"
        f"Parent: {metrics['generation']['parent']}\n"
        f"Recall: {shown(scores['recall'])}\nGeneralization: {shown(scores['generalize'])}\nTone-Drift: {shown(scores['tone_drift'])}\n"
        f"Verdict: {verdict}\nNotes: {decision['notes']}\n"
        # What waits to be learnt after this one: a denied generation has used up nothing, its conversations are learnt again.
        f"Karma: {learnt:g}\nKarma-After: {left if verdict == 'promoted' else learnt + left:g}\n"
        f"Weights-SHA256: {weights}\nLedger-SHA256: {ledger}\n"
        + (f"{record.TRAILER}: {record_tip}\n" if record_tip else "")
    )


def _commit(root: Path, line: Line, name: GenerationName, metrics: dict[str, Any]) -> None:
    """Commit, tag, version, assignment and head, all or none."""
    git = line.git
    branch = require_tip(line)
    tip = git.resolve("HEAD")
    weights = (root / artifacts.WEIGHTS_SHA256).read_text(encoding="utf-8").split()[0]
    text = message(name, metrics, weights, hashlib.sha256((root / artifacts.LEDGER).read_bytes()).hexdigest(), record.tip_digest(record.current(git)))
    paths = [path.as_posix() for path in artifacts.SEALED_IN_GIT]
    commit = git.commit_tree(git.tree_with(paths), tip, text)
    updates = [
        Update(branch, commit, tip),
        Update(f"refs/tags/{name}", git.tag_object(str(name), commit, text), ZERO),
    ]
    if metrics["decision"]["promoted_to_head"]:
        updates += head_updates(line, name, commit, f"{name.short} promoted: {metrics['decision']['notes']}")
    git.update(record.following(git, updates), f"luna seal {name}")
    git.refresh_index(paths)


def head_message(reason: str, name: str, previous: str | None) -> str:
    """What the tags of a head move say."""
    return f"{reason}\n\nGeneration: {name}\nPrevious: {previous or '-'}"


def head_updates(line: Line, name: GenerationName, commit: str, reason: str) -> list[Update]:
    """The head's move to a generation: its version where it has none yet, the next assignment, the head tag."""
    git = line.git
    version, count = version_tag(name.number), max(line.assignments, default=0) + 1
    updates = []
    if version not in line.all_tags:
        updates.append(Update(f"refs/tags/{version}", git.tag_object(version, commit, f"Registering artifact {names.ARTIFACT} version v{name.number}.0.0\n\nGeneration: {name}"), ZERO))
    assignment, head = assignment_tag(count), head_tag(line.prefix)
    text = head_message(reason, str(name), line.head_name)
    updates.append(Update(f"refs/tags/{assignment}", git.tag_object(assignment, commit, text), ZERO))
    updates.append(Update(f"refs/tags/{head}", git.tag_object(head, commit, text), line.head.object if line.head else ZERO))
    return updates


def _finish(root: Path, line: Line, name: str) -> Sealed:
    """What a kill may have left undone after the tag came into being, and the push. Does nothing when all is done."""
    git = line.git
    record.ensure(git, lambda: cold.open_store(root))
    if record.complete(git):
        line = read_line(root, line.prefix)
    tag = line.sealed[GenerationName.parse(name).number]
    [body] = git.cat([tag.object])
    promoted = message_fields((body or b"").decode("utf-8", "replace")).get("Verdict") == "promoted"
    _complete_references(line, tag, promoted)
    line = read_line(root, line.prefix)
    git.refresh_index([path.as_posix() for path in artifacts.SEALED_IN_GIT] if git.resolve("HEAD") == tag.commit else [])
    pushed = push(line)
    record.to_all(cold.open_all(root), record.read(git))
    return Sealed(name, promoted, line.head_name, 0, pushed, False)


def _complete_references(line: Line, tag: Tag, promoted: bool) -> None:
    """git writes the references of one transaction file by file; a kill between two of them is mended here."""
    git = line.git
    updates = []
    branch, tip = git.branch(), git.resolve("HEAD")
    if branch and tip and not git.is_ancestor(tag.commit, tip) and git.is_ancestor(tip, tag.commit):
        updates.append(Update(branch, tag.commit, tip))
    assigned = [item for item in line.assignments.values() if item.commit == tag.commit]
    newest = line.assignments.get(max(line.assignments, default=0))
    if promoted and not assigned:
        updates += head_updates(line, GenerationName.parse(tag.name), tag.commit, f"{GenerationName.parse(tag.name).short} promoted")
    elif newest and (line.head is None or line.head.commit != newest.commit):
        [body] = git.cat([newest.object])
        message = (body or b"").decode("utf-8", "replace").partition("\n\n")[2]
        head = head_tag(line.prefix)
        updates.append(Update(f"refs/tags/{head}", git.tag_object(head, newest.commit, message), line.head.object if line.head else ZERO))
    if updates:
        git.update(record.following(git, updates), f"luna: complete {tag.name}")


def push(line: Line, with_branch: bool = True) -> str | None:
    """Push branch and tags to the git remote of ``luna.pushRemote``, all or none; None when there is none.

    Nothing is pushed from a detached HEAD, unless it is ``with_branch`` False: then tags and record alone. The tags that the remote lacks go along, whichever generation they are of: a push that failed before is made good.
    """
    git = line.git
    remote = git.config(layout.PUSH_REMOTE)
    branch = git.branch() if with_branch else None
    if not remote or (with_branch and not branch):
        return None
    theirs = {row.split("\t")[1]: row.split("\t")[0] for row in git.text("ls-remote", remote).splitlines()}
    missing = [f"refs/tags/{name}" for name in line.all_tags if f"refs/tags/{name}" not in theirs and not names.is_head(name)]
    head = f"refs/tags/{head_tag(line.prefix)}"
    moved = [f"+{head}"] if line.head and theirs.get(head) != line.head.object else []
    known = git.resolve(record.REF)
    if known and theirs.get(record.REF) != known:
        missing.append(f"{record.REF}:{record.REF}")
    if missing or moved or (branch and theirs.get(branch) != git.resolve("HEAD")):
        # The data is proven to be in cold storage: DVC's own pre-push hook would only ask again.
        try:
            git.run("push", "--quiet", "--atomic", "--no-verify", remote, *([branch] if branch else []), *missing, *moved)
        except GitError as error:
            raise StateError(f"All is sealed here, but '{remote}' did not take it ({error}): mend that, then run 'luna seal' again.") from None
    return remote
