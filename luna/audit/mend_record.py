"""Repairs the record of tags, in git and in cold storage."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from luna.audit.mend_refs import drop_broken
from luna.audit.workbench import Bench
from luna.errors import LunaError
from luna.history import known, record, stores
from luna.history.record import Entry


def _own(bench: Bench) -> list[Entry]:
    """This clone's record; where it has none, that of a git remote."""
    git, remote = bench.git, known.fetch_remote(bench.git)
    if git.try_resolve(record.REF) is None and remote and not bench.dry:
        git.attempt("fetch", "--quiet", "--no-tags", remote, f"{record.REF}:{record.REF}")
    try:
        return record.read(git)
    except LunaError:
        return []


def _bring(bench: Bench, entries: Sequence[Entry]) -> None:
    """The commits that a longer record names, from the stores that hold them; what is nowhere is a finding of the next round."""
    for store in bench.stores:
        with contextlib.suppress(LunaError):
            stores.bring(store, bench.git, entries)
            return


def mend(bench: Bench) -> str | None:
    """The longest whole record wins, if the others are its beginnings; none whole: it is written from the existing tags."""
    git, own = bench.git, _own(bench)
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
        return (
            "the record is restored from its intact copy"
            if best
            else "the record is written from the existing tags"
        )
    if not best:
        drop_broken(bench, record.REF)
        done = record.complete(git)
        best = record.read(git)
        done_text = f"the record was written from the {len(done)} existing tags" if done else None
    else:
        done_text = "the record is complete again"
    if own != best:
        _bring(bench, best)
        drop_broken(bench, record.REF)
        # The commit before stays a parent, so that nothing that it held is lost.
        git.update(
            [record.written(git, best, git.try_resolve(record.REF), len(own))],
            "luna repair: the record",
        )
    for store in bench.stores:
        record.mend_cold(store, best)
    return done_text
