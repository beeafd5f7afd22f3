"""What no kill may lose, read before the kill and after it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tests.faults.clones import must


@dataclass(frozen=True)
class Picture:
    """What may never be lost: tags, the ledger of the tip, and the objects in cold storage with whether each is what its name says.

    ``thinned`` are objects that may leave it, since a record in the store says how they come back.
    """

    tags: dict[str, str]
    ledger: str
    objects: dict[str, bool]
    thinned: set[str]

    @classmethod
    def of(cls, repo: Path) -> Picture:
        rows = must(
            repo, "git", "for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/tags"
        ).splitlines()
        notes = [
            json.loads(path.read_bytes()) for path in (repo.parent / "cold/thinned").glob("*.json")
        ]
        return cls(
            dict(row.split(" ") for row in rows),
            must(repo, "git", "show", "main:lineage.csv"),
            objects(repo.parent / "cold"),
            {note["md5"] for note in notes},
        )


def objects(store: Path) -> dict[str, bool]:
    """MD5 -> whether the bytes have it, for every object below a store, whichever folder of it a line uses."""
    paths = [
        path
        for path in store.rglob("files/md5/*/*")
        if path.is_file() and not path.name.endswith(".tmp")
    ]
    return {
        (name := path.parent.name + path.name): hashlib.md5(
            path.read_bytes(), usedforsecurity=False
        ).hexdigest()
        == name.removesuffix(".dir")
        for path in paths
    }


def faults(repo: Path, before: Picture, goal: Picture) -> list[str]:
    """``goal`` is what a repair brings back; elsewhere the same as ``before``. Until it is done, either is right."""
    now = Picture.of(repo)
    names = {name for name in before.tags | goal.tags if not name.endswith("-GHEAD")}
    sentences = [
        f"tag {name} is lost or moved"
        for name in sorted(names)
        if now.tags.get(name) not in (before.tags.get(name), goal.tags.get(name))
    ]
    if not now.ledger.startswith(before.ledger):
        sentences.append("the ledger is damaged")
    whole = {name for name, good in before.objects.items() if good}
    if missing := whole - now.objects.keys() - now.thinned:
        sentences.append(f"{len(missing)} objects are gone from cold storage")
    wrong = {name for name, good in now.objects.items() if not good} - (
        before.objects.keys() - whole
    )
    wrong |= {name for name, good in objects(repo.parent / "second").items() if not good}
    sentences += [f"{name} is not what its name says" for name in sorted(wrong)]
    head = must(repo, "git", "rev-parse", "Luna-GHEAD^{}").strip()
    named = [
        name
        for name in now.tags
        if "-G" in name
        and not name.endswith("-GHEAD")
        and must(repo, "git", "rev-parse", f"{name}^{{}}").strip() == head
    ]
    if len(named) != 1 or "Verdict: promoted" not in must(repo, "git", "cat-file", "tag", named[0]):
        sentences.append("the head names no generation that passed the rule")
    return sentences
