"""Repairs git's references: their files, tags, the head and the line's branch."""

from __future__ import annotations

import os
import re

from luna import artifacts, files
from luna.audit import gitstore
from luna.audit.workbench import Bench
from luna.history import known, record, shared
from luna.history.line import read_line
from luna.names import assignment_number, head_tag
from luna.repo import quarantine
from luna.repo.git import ZERO, Update


def packed_refs(bench: Bench) -> str:
    """Drop the lines of packed-refs that git cannot read. Returns what was done."""
    if not bench.dry:
        _drop_packed(bench, _misspelt(bench))
    return "its readable lines were written again; missing lines come from the record"


def _misspelt(bench: Bench) -> set[str]:
    """Packed names that are, but for one bit, those of references that ought to be there and are not packed: what damage made of them."""
    rows, _ = gitstore.packed_refs(bench.git)
    ours: dict[str, str | None] = {
        f"refs/tags/{entry.tag}": entry.object for entry in bench.picture.entries
    }
    ours |= dict.fromkeys(
        (
            record.REF,
            f"refs/tags/{head_tag(bench.picture.prefix)}",
            *filter(None, [bench.git.branch()]),
        )
    )
    lost = {name.encode(): value for name, value in ours.items() if name not in rows}
    return {
        name
        for name, (value, _) in rows.items()
        if name not in ours
        and any(
            was in (value, None)
            and _differ_in_one_bit(name.encode("utf-8", "surrogateescape"), one)
            for one, was in lost.items()
        )
    }


def _differ_in_one_bit(one: bytes, other: bytes) -> bool:
    return len(one) == len(other) and (int.from_bytes(one) ^ int.from_bytes(other)).bit_count() == 1


def _drop_packed(bench: Bench, names: set[str]) -> None:
    """Write packed-refs again without the ``names``, each of its other lines as git writes it. The file as it was is kept."""
    path = bench.git.common_dir / "packed-refs"
    rows, _ = gitstore.packed_refs(bench.git)
    quarantine.copy(bench.root, path, "packed-refs")
    # Without the words 'peeled' in its header git looks at the tags themselves.
    lines = [
        f"{value} {name}\n".encode("utf-8", "surrogateescape")
        for name, (value, _) in rows.items()
        if name not in names
    ]
    lines.sort(key=lambda line: line[41:])
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"# pack-refs with: sorted \n" + b"".join(lines))
        file.flush()
        os.fsync(file.fileno())


def stray(bench: Bench, tag: str) -> str:
    """Its object is kept under refs/quarantine, if no other reference has it."""
    value = bench.picture.tags[tag]
    if not bench.dry:
        bench.git.update(
            [_aside(bench, "stray", value), Update(f"refs/tags/{tag}", ZERO, value)],
            "luna repair: put aside",
        )
    return "the name was moved to refs/quarantine"


def _aside(bench: Bench, label: str, value: str) -> Update:
    count = 0
    while bench.git.try_resolve(name := f"refs/quarantine/{label}/{count}"):
        count += 1
    return Update(name, value, ZERO)


def form(bench: Bench, reference: str) -> str | None:
    """The file of a reference that git still understands, written as git writes it."""
    value = bench.git.try_resolve(reference)
    if value is None:
        return None
    if not bench.dry:
        path = bench.git.common_dir / reference
        quarantine.copy(bench.root, path, reference)
        files.write_text(path, value + "\n")
    return "the reference's file was written again"


def drop_broken(bench: Bench, reference: str) -> None:
    """Move the file of a reference that git cannot read to quarantine, so that the reference can be made again."""
    path = bench.git.common_dir / reference
    if path.is_file() and bench.git.try_resolve(f"{reference}^{{object}}") is None:
        quarantine.aside(bench.root, path, reference)
    gone = _misspelt(bench)
    if (
        reference in gitstore.packed_refs(bench.git)[0]
        and bench.git.try_resolve(f"{reference}^{{object}}") is None
    ):
        gone.add(reference)
    if gone:
        _drop_packed(bench, gone)


def tag(bench: Bench, tag: str) -> str | None:
    """Bring a tag back as the record has it. Returns what was done, None where nothing can be."""
    entry = next((entry for entry in bench.picture.entries if entry.tag == tag), None)
    if entry is None:
        if tag not in bench.picture.tags and f"refs/tags/{tag}" not in bench.picture.broken:
            return _from_remote(bench, tag)
        if bench.picture.record.whole and f"refs/tags/{tag}" not in bench.picture.broken:
            if not bench.dry:
                record.complete(bench.git)
            return "it was added to the record"
        if f"refs/tags/{tag}" in bench.picture.broken:
            if not bench.dry:
                drop_broken(bench, f"refs/tags/{tag}")
            return "the broken reference was moved to quarantine; no record has this tag"
        return None
    if not bench.dry:
        reference = f"refs/tags/{tag}"
        record.write_object(bench.git, entry)
        drop_broken(bench, reference)
        now = bench.git.try_resolve(reference)
        if now and now != entry.object:
            bench.git.update([_aside(bench, tag, now)], "luna repair: put aside")
        bench.git.update(
            [Update(reference, entry.object, now or ZERO)], "luna repair: from the record"
        )
    return "the tag has its recorded value again"


def _from_remote(bench: Bench, tag: str) -> str | None:
    """A tag that never came, from a git remote that has it on the very commit that this history calls its seal; all others with it."""
    line = read_line(bench.root, bench.picture.prefix)
    commits = {
        name: commit
        for doubt in known.doubts(line)
        if doubt.kind is known.Kind.MISSING
        for name, commit in zip(doubt.tags, doubt.commits, strict=True)
    }
    for remote in bench.git.text("remote", check=False).splitlines():
        if not shared.has_tags(bench.git, remote, commits):
            continue
        if not bench.dry:
            shared.fetch_history(line, remote)
        return f"the tag came from the git remote '{remote}'"
    return None


def head(bench: Bench) -> str | None:
    """Bring the head's tag back to its last recorded move. Returns what was done, None where there is none."""
    moves = {
        count: entry
        for entry in bench.picture.entries
        if (count := assignment_number(entry.tag)) is not None
    }
    if not moves:
        return None
    entry = moves[max(moves)]
    head = head_tag(bench.picture.prefix)
    if not bench.dry:
        drop_broken(bench, f"refs/tags/{head}")
        now = bench.git.try_resolve(f"refs/tags/{head}")
        tag = bench.git.tag_object(head, entry.commit, entry.parsed.text)
        bench.git.update(
            [Update(f"refs/tags/{head}", tag, now or ZERO)], "luna repair: the head's last move"
        )
    return f"the head is again where move {max(moves)} put it"


def branch(bench: Bench, branch: str) -> str | None:
    """A broken branch comes back from git's own log of it, else from the newest seal; one moved back goes forward again."""
    newest, git = bench.picture.newest, bench.git
    if newest is None or not branch.startswith("refs/heads/"):
        return None
    tip = git.try_resolve(f"{branch}^{{commit}}")
    if tip is not None:
        if not git.is_ancestor(tip, newest.commit):
            return None
        target = newest.commit
    else:
        target = newest.commit
        log = git.common_dir / "logs" / branch
        for line in reversed(
            log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
        ):
            new = line[41:81]
            if (
                re.fullmatch("[0-9a-f]{40}", new)
                and git.try_resolve(f"{new}^{{commit}}")
                and git.is_ancestor(newest.commit, new)
            ):
                target = new
                break
    if not bench.dry:
        drop_broken(bench, branch)
        git.update(
            [Update(branch, target, git.try_resolve(branch) or ZERO)],
            "luna repair: the line's branch",
        )
        if tip is not None and git.branch() == branch:
            git.refresh_index([path.as_posix() for path in artifacts.SEALED_IN_GIT])
    return f"the branch is at {target[:12]} again, which holds {newest.name}"
