"""`luna snapshot`: keeps any folder beside the generations, with the same guarantees.

The order is a seal's: the bytes are in cold storage and have been read back, then the commit, then tag
and record in one transaction, then the push. The commit is made without index, checkout or branch: it
has no parent and holds DVC's file for the folder, the SHA-256 of each file in it, and DVC's configuration, so that
'dvc get' reads it, too. If it is killed anywhere, the same command resumes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from luna import artifacts, files, hashes, names, params
from luna.errors import InputError
from luna.history import backup, record, stores
from luna.history.line import kept, read_line, sealed_outs
from luna.history.shared import push
from luna.operations import cold as cold_place
from luna.repo.git import ZERO, Git, Update
from luna.repo.tag import TagBody
from luna.storage import cold, objects, tree
from luna.storage.tree import File


@dataclass(frozen=True)
class Snapshot:
    """``folder`` is the name of the folder that was kept, ``object`` DVC's name for its content; ``when`` is UTC, ISO 8601."""

    name: str
    tag: str
    description: str
    folder: str
    files: int
    bytes: int
    object: str
    who: str
    when: str | None


@dataclass(frozen=True)
class Kept:
    """``created`` is False when the same command had made it before; ``uploaded`` objects were new to cold storage."""

    snapshot: Snapshot
    created: bool
    uploaded: int
    pushed_to: str | None


def make(
    root: Path,
    path: Path,
    name: str,
    description: str,
    tick: Callable[[str], None] = lambda step: None,
) -> Kept:
    """Keep the folder ``path`` as the snapshot ``name``. The folder is only read; workspace, index and branch stay as they are.

    Raises:
        InputError: the name is taken or not allowed, there is no description, or the folder cannot be kept.
        ColdStorageError: cold storage cannot be written, or does not give back what it was given.
    """
    tag, words = names.snapshot_tag(name), " ".join(description.split())
    if not words:
        raise InputError(
            'A snapshot needs a description: give -m "what this is"; it is kept with it.'
        )
    folder = tree.check(root, path)
    line = read_line(root, params.load(root).line.prefix)
    git = line.git
    ahead = stores.newer(root, git) if tag not in line.all_tags else None
    if ahead and [entry.tag for entry in ahead[1]] == [tag]:
        # Killed after cold storage had taken it.
        stores.bring(ahead[0], git, ahead[1])
        stores.adopt(git, record.in_cold(ahead[0]))
        line = read_line(root, line.prefix)
    tick("reading")
    entries = tree.read(folder)
    object_name = tree.name_of(tree.listing(entries))
    there = {snapshot.tag: snapshot for snapshot in listed(root)}
    created = tag not in line.all_tags
    if created:
        _require_free(tag, list(line.all_tags))
        # Before anything is kept: a store of another line, or one that is not there, must not get or give anything.
        if own := cold_place.planned(root, line):
            cold_place.settle(root, line, own)
        stores.open_all(root, git)
        stores.require_not_overtaken(stores.newer(root, git))
        tree.keep(root, folder, entries)
        tick("archiving")
        # Objects that a snapshot of the same content has read back before are only checked for existence.
        proven = (
            objects.expanded(root, [object_name])
            if any(other.object == object_name for other in there.values())
            else []
        )
        uploaded = cold.archive_in_all(
            root,
            objects.expanded(root, [object_name]),
            proven,
            lambda store: stores.require(store, git),
            tick,
        )
        record.ensure(git, lambda: stores.record_of_line(root, git))
        tick("tagging")
        _tag(root, git, tag, words, folder.name, entries, object_name)
    else:
        uploaded, was = 0, there.get(tag)
        if was is None or (was.object, was.description, was.folder) != (
            object_name,
            words,
            folder.name,
        ):
            raise InputError(
                f"There is a tag {tag} already{f', of {was.when}' if was else ''}, and a snapshot is never replaced: give another name with --tag."
            )
    record.ensure(git, lambda: stores.record_of_line(root, git))
    record.complete(git)
    pushed = push(read_line(root, line.prefix), with_branch=False)
    backup.to_all(stores.open_all(root, git), git, line.prefix)
    [snapshot] = [snapshot for snapshot in listed(root) if snapshot.tag == tag]
    return Kept(snapshot, created, uploaded, pushed)


def _require_free(tag: str, tags: list[str]) -> None:
    """Two names that differ in case alone are one file on some systems."""
    if twin := next((other for other in tags if other.casefold() == tag.casefold()), None):
        raise InputError(
            f"There is a tag {twin} already, and {tag} differs from it in case alone: give another name with --tag."
        )


def _tag(
    root: Path,
    git: Git,
    tag: str,
    description: str,
    name: str,
    entries: list[File],
    object_name: str,
) -> None:
    """Commit and tag; the tag with its entry in the record, all or none."""
    size, listing = sum(file.bytes for file in entries), _listing(entries)
    out = {
        "md5": object_name,
        "size": size,
        "nfiles": len(entries),
        "hash": "md5",
        "path": artifacts.SNAPSHOT.as_posix(),
    }
    config = git.show("HEAD", ".dvc/config")
    tree = _tree(
        git,
        {
            artifacts.SNAPSHOT_DVC.as_posix(): yaml.safe_dump(
                {"outs": [out]}, sort_keys=False
            ).encode(),
            artifacts.SNAPSHOT_HASHES.as_posix(): listing,
        },
        {".dvc": _tree(git, {"config": config or b""}, {})},
    )
    text = (
        f"{tag}: {description}\n\nFolder: {name}\nObject: {object_name}\nFiles: {len(entries)}\nBytes: {size}\n"
        f"{artifacts.HASHES_TRAILER}: {hashlib.sha256(listing).hexdigest()}\n"
    )
    commit = git.commit_tree(tree, [], text)
    update = Update(f"refs/tags/{tag}", git.tag_object(tag, commit, text), ZERO)
    updates = record.following(git, [update])
    stores.offer(root, git, updates)
    git.update(updates, f"luna snapshot {tag}")


def _tree(git: Git, contents: dict[str, bytes], folders: dict[str, str]) -> str:
    rows = [
        f"100644 blob {git.text('hash-object', '-w', '--stdin', stdin=content)}\t{name}\n"
        for name, content in contents.items()
    ]
    rows += [f"040000 tree {tree}\t{name}\n" for name, tree in folders.items()]
    return git.text("mktree", stdin="".join(rows).encode())


def _listing(entries: list[File]) -> bytes:
    """As hashes.csv of a generation: path, bytes and SHA-256 of each file."""
    rows = ((f"{artifacts.SNAPSHOT}/{file.path}", file.bytes, file.sha256) for file in entries)
    return hashes.dumps(rows).encode()


def listed(root: Path) -> list[Snapshot]:
    """Every snapshot, by name. A tag of that form which is not one of Luna's is left out."""
    line = read_line(root, params.load(root).line.prefix)
    bodies = line.git.cat([line.all_tags[tag].object for tag in line.snapshots])
    snapshots = [
        _parse(tag, TagBody.of(body)) for tag, body in zip(line.snapshots, bodies, strict=True)
    ]
    return [snapshot for snapshot in snapshots if snapshot]


def _parse(tag: str, body: TagBody) -> Snapshot | None:
    fields = body.fields
    try:
        description = body.message.partition("\n")[0].removeprefix(f"{tag}: ")
        return Snapshot(
            tag.removeprefix(names.SNAPSHOTS),
            tag,
            description,
            fields["Folder"],
            int(fields["Files"]),
            int(fields["Bytes"]),
            fields["Object"],
            body.who,
            body.when,
        )
    except (KeyError, ValueError):
        return None


def restore(root: Path, name: str, to: Path) -> int:
    """Write a snapshot's files into the folder ``to``, complete or not at all. Returns how many objects came from cold storage.

    Raises:
        InputError: there is no such snapshot, or ``to`` is there and not empty.
        ColdStorageError: no intact copy of its bytes is left.
    """
    tag = names.SNAPSHOTS + name.removeprefix(names.SNAPSHOTS)
    known = [snapshot.tag for snapshot in listed(root)]
    if tag not in known:
        there = (
            f"there are {', '.join(item.removeprefix(names.SNAPSHOTS) for item in known)}"
            if known
            else "none has been made yet"
        )
        raise InputError(f"There is no snapshot '{name}': {there}.")
    root = root.resolve()
    fetched = 0
    with files.new_folder(to) as scratch:
        for md5 in kept(sealed_outs(root, tag)):
            fetched += objects.whole(root, md5)[1]
            for relative, inner in objects.listing(root, md5).items():
                if not files.is_inside(relative):
                    raise InputError(
                        f"The listing of {tag} names {relative!r}, which is outside of its folder: nothing was written."
                    )
                source, came = objects.whole(root, inner)
                fetched += came
                target = scratch / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    return fetched
