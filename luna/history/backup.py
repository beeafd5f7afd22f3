"""Brings git's objects and then the record into every cold storage.

Called after whatever moves the branch or a tag. A store that was away then, or a kill in between, is caught up
with by the next call: each looks at what the store holds, and brings the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from luna import names
from luna.errors import ColdStorageError
from luna.history import record, stores
from luna.names import head_tag
from luna.repo.git import Git, GitError
from luna.storage import packs
from luna.storage.cold import Store

_TAGS, _HEADS = "refs/tags/", "refs/heads/"


def references(git: Git, prefix: str) -> dict[str, str]:
    """What a store must be able to bring back, object ids by full name: the line's branches, its tags, the record.

    Branches are those that hold the newest generation, the one that is checked out first. A tag of
    somebody's own belongs to the line where the line's branch leads to it.
    """
    rows = [
        row.split("\t")
        for row in git.text(
            "for-each-ref",
            "--format=%(refname)%09%(objectname)%09%(*objectname)",
            "refs/tags",
            "refs/heads",
            record.REF,
        ).splitlines()
    ]
    tags = {ref.removeprefix(_TAGS): oid for ref, oid, _ in rows if ref.startswith(_TAGS)}
    own = {
        ref.removeprefix(_TAGS): peeled
        for ref, _, peeled in rows
        if ref.startswith(_TAGS)
        and peeled
        and (record.is_recorded(tag := ref.removeprefix(_TAGS)) or tag == head_tag(prefix))
    }
    own_refs = _branches(git, own, {ref: oid for ref, oid, _ in rows if ref.startswith(_HEADS)})
    tip = next(iter(own_refs.values()), None)
    own_refs |= {_TAGS + tag: tags[tag] for tag in own}
    if tip and len(tags) > len(own):
        merged = git.text("for-each-ref", f"--merged={tip}", "--format=%(refname)", "refs/tags")
        own_refs |= {
            ref: tags[tag]
            for ref in merged.splitlines()
            if (tag := ref.removeprefix(_TAGS)) not in own and not names.is_head(tag)
        }
    return own_refs | {ref: oid for ref, oid, _ in rows if ref == record.REF}


def _branches(git: Git, own: dict[str, str], heads: dict[str, str]) -> dict[str, str]:
    generations = [tag for tag in own if names.is_generation(tag)]
    if generations:
        newest = own[max(generations, key=lambda tag: names.number_of(tag) or 0)]
        holding = git.text(
            "for-each-ref", f"--contains={newest}", "--format=%(refname)", "refs/heads"
        ).splitlines()
        heads = {ref: heads[ref] for ref in holding if ref in heads}
        current = git.branch()
    else:
        current = git.branch()
        heads = {ref: oid for ref, oid in heads.items() if ref == current}
    return dict(sorted(heads.items(), key=lambda item: (item[0] != current, item[0])))


def to_store(store: Store, git: Git, prefix: str) -> None:
    """Raises ColdStorageError when the store cannot be written, or does not give back what it was given."""
    packs.put(store, git, references(git, prefix))
    record.to_cold(store, record.read(git))
    stores.remember(store, git)


def to_all(given: Iterable[Store], git: Git, prefix: str) -> None:
    """Into every store that answers. Raises ColdStorageError when none does; a store that was down gets the rest another time."""
    wanted, failures = list(given), []
    for store in wanted:
        try:
            to_store(store, git, prefix)
        except ColdStorageError as error:
            failures.append(error)
    if failures and len(failures) == len(wanted):
        raise failures[0]


def if_possible(root: Path, git: Git, prefix: str, remotes: list[str] | None = None) -> None:
    """As ``to_all``, for what must not fail because no store answers: the next seal brings what is lacking."""
    with contextlib.suppress(ColdStorageError, GitError):
        to_all(stores.open_all(root, git, remotes), git, prefix)
