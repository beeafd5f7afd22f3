"""Mending git: references, objects, tags, head, branch, record and the files of the workspace."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from luna import artifacts, files, names
from luna.audit import gitstore
from luna.audit.finding import BRANCH, COLD_RECORD, GIT_OBJECT, HEAD, LEDGER, RECORD, REFERENCES, STRAY, TAG, WORKSPACE, Finding
from luna.audit.picture import Picture
from luna.errors import LunaError
from luna.history import quarantine, record
from luna.history.cold import Store
from luna.history.git import ZERO, Git, Update
from luna.names import assignment_number, head_tag


@dataclass
class Bench:
    """What a repair works with. ``sources``: bare copies of git remotes, fetched when first asked for."""

    root: Path
    git: Git
    picture: Picture
    stores: list[Store]
    building: str | None
    dry: bool
    scratch: Path
    sources: list[Path] | None = field(default=None)


def mend(bench: Bench, finding: Finding) -> str | None:
    """What was done (or, dry, would be done); None where nothing here can mend it."""
    match finding.kind:
        case k if k == REFERENCES:
            return _packed_refs(bench) if finding.object == "packed-refs" else _form(bench, finding.object)
        case k if k == GIT_OBJECT:
            return _git_object(bench, finding.object)
        case k if k in (RECORD, COLD_RECORD):
            return _record(bench, finding)
        case k if k == STRAY:
            return _stray(bench, finding.object)
        case k if k == TAG:
            return _tag(bench, finding.object)
        case k if k == HEAD:
            return _head(bench)
        case k if k == BRANCH:
            return _branch(bench, finding.object)
        case k if k in (LEDGER, WORKSPACE) and finding.where == "workspace":
            return _workspace_file(bench, finding.object)
    return None


def _packed_refs(bench: Bench) -> str:
    path = gitstore.folder(bench.git) / "packed-refs"
    if not bench.dry:
        rows, _ = gitstore.packed_refs(bench.git)
        quarantine.copy(bench.root, path, "packed-refs")
        _write_packed(path, {name: value for name, (value, _) in rows.items()})
    return "its readable lines were written anew; what they lack comes back from the record"


def _write_packed(path: Path, rows: dict[str, str]) -> None:
    """Without the words 'peeled' in its header git looks at the tags themselves."""
    lines = [f"{value} {name}\n".encode("utf-8", "surrogateescape") for name, value in rows.items()]
    lines.sort(key=lambda line: line[41:])
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"# pack-refs with: sorted \n" + b"".join(lines))
        file.flush()
        os.fsync(file.fileno())


def _stray(bench: Bench, tag: str) -> str:
    """Its object is kept under refs/quarantine, if no other reference has it."""
    value = bench.picture.tags[tag]
    if not bench.dry:
        count = 0
        while bench.git.resolve(aside := f"refs/quarantine/stray/{count}"):
            count += 1
        bench.git.update([Update(aside, value, ZERO), Update(f"refs/tags/{tag}", ZERO, value)], "luna repair: put aside")
    return "the name was put aside, under refs/quarantine"


def _form(bench: Bench, reference: str) -> str | None:
    """The file of a reference that git still understands, written as git writes it."""
    value = bench.git.resolve(reference)
    if value is None:
        return None
    if not bench.dry:
        path = gitstore.folder(bench.git) / reference
        quarantine.copy(bench.root, path, reference)
        files.write_text(path, value + "\n")
    return "the reference's file was written anew"


def _drop_broken(bench: Bench, reference: str) -> None:
    """Put the file of a reference that git cannot read aside, so that the reference can be made again."""
    path = gitstore.folder(bench.git) / reference
    if path.is_file() and bench.git.resolve(f"{reference}^{{object}}") is None:
        quarantine.aside(bench.root, path, reference)
    if reference in gitstore.packed_refs(bench.git)[0] and bench.git.resolve(f"{reference}^{{object}}") is None:
        packed = gitstore.folder(bench.git) / "packed-refs"
        quarantine.copy(bench.root, packed, "packed-refs")
        rows, _ = gitstore.packed_refs(bench.git)
        _write_packed(packed, {name: value for name, (value, _) in rows.items() if name != reference})


def _tag(bench: Bench, tag: str) -> str | None:
    entry = next((entry for entry in bench.picture.entries if entry.tag == tag), None)
    if entry is None:
        if bench.picture.record_error is None and f"refs/tags/{tag}" not in bench.picture.broken:
            if not bench.dry:
                record.complete(bench.git)
            return "it was recorded as it stands"
        if f"refs/tags/{tag}" in bench.picture.broken:
            if not bench.dry:
                _drop_broken(bench, f"refs/tags/{tag}")
            return "the broken reference was put aside; no record knows this tag"
        return None
    if not bench.dry:
        reference = f"refs/tags/{tag}"
        record.write_object(bench.git, entry)
        _drop_broken(bench, reference)
        now = bench.git.resolve(reference)
        if now and now != entry.object:
            count = 0
            while bench.git.resolve(aside := f"refs/quarantine/{tag}/{count}"):
                count += 1
            bench.git.update([Update(aside, now, ZERO)], "luna repair: put aside")
        bench.git.update([Update(reference, entry.object, now or ZERO)], "luna repair: from the record")
    return "the tag is again what the record says"


def _head(bench: Bench) -> str | None:
    moves = {count: entry for entry in bench.picture.entries if (count := assignment_number(entry.tag)) is not None}
    if not moves:
        return None
    entry = moves[max(moves)]
    head = head_tag(bench.picture.prefix)
    if not bench.dry:
        _drop_broken(bench, f"refs/tags/{head}")
        now = bench.git.resolve(f"refs/tags/{head}")
        tag = bench.git.tag_object(head, entry.commit, entry.body.partition("\n\n")[2].partition("-----BEGIN ")[0])
        bench.git.update([Update(f"refs/tags/{head}", tag, now or ZERO)], "luna repair: the head's last move")
    return f"the head is again where move {max(moves)} put it"


def _branch(bench: Bench, branch: str) -> str | None:
    """A broken branch comes back from git's own log of it, else from the newest seal; one moved back goes forward again."""
    newest, git = bench.picture.newest, bench.git
    if newest is None or not branch.startswith("refs/heads/"):
        return None
    tip = git.resolve(f"{branch}^{{commit}}")
    if tip is not None:
        if not git.is_ancestor(tip, newest.commit):
            return None
        target = newest.commit
    else:
        target = newest.commit
        log = gitstore.folder(git) / "logs" / branch
        for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []):
            new = line[41:81]
            if re.fullmatch("[0-9a-f]{40}", new) and git.resolve(f"{new}^{{commit}}") and git.is_ancestor(newest.commit, new):
                target = new
                break
    if not bench.dry:
        _drop_broken(bench, branch)
        git.update([Update(branch, target, git.resolve(branch) or ZERO)], "luna repair: the line's branch")
        if tip is not None and git.branch() == branch:
            git.refresh_index([path.as_posix() for path in artifacts.SEALED_IN_GIT])
    return f"the branch is at {target[:12]} again, which holds {newest.name}"


def _record(bench: Bench, finding: Finding) -> str | None:
    """The longest whole record wins, if the others are its beginnings; none whole: it is written from the tags that stand."""
    git = bench.git
    try:
        own = record.read(git)
    except LunaError:
        own = []
    copies = {}
    for store in bench.stores:
        try:
            copies[store.name] = record.in_cold(store)
        except LunaError:
            copies[store.name] = []
    best = max([own, *copies.values()], key=len)
    if any(other != best[: len(other)] for other in (own, *copies.values())):
        return None  # two histories: a person must say which is true
    if bench.dry:
        return "the record is made whole from the copy that is" if best else "the record is written from the tags that stand"
    if not best:
        _drop_broken(bench, record.REF)
        done = record.complete(git)
        best = record.read(git)
        said = f"the record was written from the {len(done)} tags that stand" if done else None
    else:
        said = "the record is whole again"
    if own != best:
        _drop_broken(bench, record.REF)
        # The commit before stays a parent, so that nothing that it held is lost.
        git.update([record.written(git, best, git.resolve(record.REF), len(own))], "luna repair: the record")
    for store in bench.stores:
        record.mend_cold(store, best)
    return said


def _workspace_file(bench: Bench, path: str) -> str | None:
    [sealed] = bench.git.cat([f"HEAD:{path}"])
    if sealed is None:
        return None
    if not bench.dry:
        target = bench.root / path
        if target.is_file():
            quarantine.copy(bench.root, target, path)
        rest = b""
        if path == artifacts.LEDGER.as_posix() and bench.building:
            number = names.number_of(bench.building)
            rest = b"".join(line + b"\n" for line in (target.read_bytes().splitlines() if target.is_file() else []) if line.startswith(b"%d," % (number or -1)))
        with files.replacing(target) as temporary:
            with temporary.open("wb") as file:
                file.write(sealed + rest)
                file.flush()
                os.fsync(file.fileno())
    return "the file is again as it was sealed"


# -- objects


def _git_object(bench: Bench, object_id: str) -> str | None:
    if not re.fullmatch("[0-9a-f]{40}", object_id):
        return _pack(bench, object_id)
    found = _content(bench, object_id)
    if found is None:
        return None
    kind, content, source = found
    if not bench.dry:
        path = gitstore.loose_path(bench.git, object_id)
        if path.exists():
            quarantine.aside(bench.root, path, f"git-{object_id}")
        bench.git.run("hash-object", "-t", kind, "-w", "--stdin", "--literally", stdin=content)
    return f"the object came back from {source}"


def _content(bench: Bench, object_id: str) -> tuple[str, bytes, str] | None:
    """Type, bytes and source of an object, looked for wherever its bytes may be whole."""
    for entry in bench.picture.entries:
        if entry.object == object_id:
            return "tag", entry.body.encode("utf-8", "surrogateescape"), "the record"
    listed = bench.git.run("ls-files", "-z", check=False).decode("utf-8", "surrogateescape").split("\0")
    present = [path for path in listed if path and "\n" not in path and (bench.root / path).is_file()]
    ids = bench.git.text("hash-object", "--no-filters", "--stdin-paths", stdin="".join(f"{path}\n" for path in present).encode("utf-8", "surrogateescape"), check=False).splitlines()
    for path, found in zip(present, ids, strict=False):
        if found == object_id:
            return "blob", (bench.root / path).read_bytes(), f"the workspace's {path}"
    for store in bench.stores:
        try:
            text = record.dumps(record.in_cold(store)).encode()
        except LunaError:
            continue
        if bench.git.text("hash-object", "--stdin", stdin=text) == object_id:
            return "blob", text, f"the record in cold storage '{store.name}'"
    if bench.sources is None:
        bench.sources = _fetch_sources(bench)
    for source in bench.sources:
        there = Git.bare(source)
        kind = there.text("cat-file", "-t", object_id, check=False)
        if kind:
            return kind, there.run("cat-file", kind, object_id), "a git remote"
    if tree := _tree_of_index(bench, object_id):
        return "tree", tree, "git's index"
    return None


def _fetch_sources(bench: Bench) -> list[Path]:
    found = []
    for name in bench.git.text("remote", check=False).splitlines():
        place = bench.scratch / f"source-{len(found)}"
        if bench.git.attempt("clone", "--quiet", "--mirror", bench.git.config(f"remote.{name}.url") or "", str(place))[0] == 0:
            found.append(place)
    return found


def _tree_of_index(bench: Bench, object_id: str) -> bytes | None:
    """Trees of the generation that is checked out can be written again from the index, in a scratch repository."""
    index = gitstore.folder(bench.git) / "index"
    if not index.is_file():
        return None
    scratch = bench.scratch / "trees"
    if not scratch.exists():
        shutil.copytree(gitstore.folder(bench.git) / "objects", scratch, ignore=lambda folder, entries: [] if Path(folder).name == "pack" else [entry for entry in entries if entry == "info"])
        damaged = scratch / object_id[:2] / object_id[2:]
        damaged.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "index"
        shutil.copyfile(index, own)
        env = {"GIT_INDEX_FILE": str(own), "GIT_OBJECT_DIRECTORY": str(scratch)}
        bench.git.run("write-tree", "--missing-ok", env=env, check=False)
        return bench.git.run("cat-file", "tree", object_id, env=env, check=False) or None


def _pack(bench: Bench, stem: str) -> str | None:
    """A damaged pack is unpacked as far as it is readable, then put aside; what it lacked is named by the next look."""
    folder = gitstore.folder(bench.git) / "objects" / "pack"
    if not bench.dry:
        kept = {path: quarantine.aside(bench.root, path, path.name) for path in sorted(folder.glob(f"{stem}.*"))}
        pack = next((target for path, target in kept.items() if path.suffix == ".pack"), None)
        if pack:
            with pack.open("rb") as file:
                bench.git.run("unpack-objects", "-r", "-q", stdin=file.read(), check=False)
    return "its readable objects were unpacked; the pack was put aside"


