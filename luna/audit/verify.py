"""The work of `luna verify`: reads, hashes and compares the whole line, and changes nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from luna import artifacts
from luna.audit import (
    artifact_set,
    cold_git,
    content,
    gitstore,
    ledgers,
    snapshots,
    tags,
    workspace,
)
from luna.audit.content import Wanted
from luna.audit.finding import GIT, Finding
from luna.audit.finding import cold as cold_storage
from luna.audit.picture import Picture, Seal, object_names, references, take
from luna.audit.places import Cache, Cold, Place
from luna.audit.problem import Kind, Problem, Severity
from luna.errors import ColdStorageError, InputError, StateError
from luna.history import known, record
from luna.history import stores as whose
from luna.history.stores import Holding
from luna.repo.git import Git
from luna.repo.tag import TagBody
from luna.storage.cold import Store

Progress = Callable[[int, int], None]  # bytes read now, bytes to read in all


SHALLOW_CLONE = Finding(Problem.SHALLOW, GIT, "history")


@dataclass(frozen=True)
class Report:
    """``sealed_by``: generation -> who tagged it, and who signed it (None: not signed, or not to be checked)."""

    generations: list[str]
    places: list[str]
    objects: int
    bytes_read: int
    quick: bool
    findings: list[Finding]
    sealed_by: list[dict[str, str | None]]
    snapshots: list[str]

    @property
    def clean(self) -> bool:
        """Whether no damage was found; notes do not count."""
        return all(finding.severity is not Severity.DAMAGE for finding in self.findings)


def verify(
    root: Path,
    prefix: str,
    building: str | None,
    chosen: Sequence[str] = (),
    stores: Sequence[Store] = (),
    quick: bool = False,
    progress: Progress = lambda now, total: None,
    thinned: frozenset[str] = frozenset(),
) -> Report:
    """Check git, tags, ledger and head of the whole line, and the content of the ``chosen`` generations (none: all, and all snapshots).

    ``building``: the generation that params.yaml names; its unsealed results in the workspace are no damage.
    With ``stores`` every byte in them is read back as a stream and hashed; objects in ``thinned`` may be missing there.

    Raises:
        InputError: a chosen generation does not exist.
    """
    git = Git(root)
    if known.is_shallow(git):
        return Report([], [], 0, 0, quick, [SHALLOW_CLONE], [], [])
    stores, absent = usable(git, stores)
    picture, findings = survey(git, prefix, stores, quick)
    findings += absent
    findings += cold_git.check(picture, stores, quick)
    sealed = any(seal.name == building for seal in picture.seals.values())
    findings += workspace.check(picture, None if sealed else building)
    seals = choose(picture, chosen)
    items, all_findings = (
        ([], [])
        if chosen
        else snapshots.check(picture, [Cache(root), *(Cold(store) for store in stores)])
    )
    findings += all_findings
    # What a snapshot keeps was not taken out of a store on purpose, even if a generation's GGUF of the same bytes was.
    lean = thinned - {item.md5 for item in items}
    places: list[Place] = [Cache(root), *(Cold(store, lean) for store in stores)]
    signers = []
    beside = {seal.name for seal in seals}
    for seal in seals:
        wanted, all_findings = check_generation(picture, seal, places, beside)
        items += wanted
        findings += all_findings
        signer, wrong = tags.signature(picture, seal)
        findings += [wrong] if wrong else []
        signers.append({"generation": seal.name, "tagger": seal.tagger, "signer": signer})
    objects = content.merged(items)
    read = 0
    total = 0 if quick else content.total_bytes(objects, places)

    def tick(count: int) -> None:
        nonlocal read
        read += count
        progress(count, total)

    findings += content.scan(objects, places, quick, tick)
    return Report(
        [seal.name for seal in seals],
        [str(holder.where) for holder in places],
        len(objects),
        read,
        quick,
        _unique(findings),
        signers,
        [] if chosen else list(snapshots.bodies(picture)),
    )


def verify_generation(
    root: Path,
    prefix: str,
    generation: str,
    stores: Sequence[Store] = (),
    with_cache: bool = True,
    quick: bool = False,
    tick: content.Tick = lambda count: None,
) -> list[Finding]:
    """Findings on the content of one generation alone, in the given stores and the cache: the data of its seal, every byte.

    For commands that must know that an intact copy of a generation exists before they continue. ``with_cache`` False: the stores only.
    """
    picture = take(Git(root), prefix, set())
    [seal] = choose(picture, [generation])
    places: list[Place] = [
        *([Cache(root)] if with_cache else []),
        *(Cold(store) for store in stores),
    ]
    wanted, findings = check_generation(picture, seal, [Cache(root), *places])
    return findings + content.scan(content.merged(wanted), places, quick, tick)


def survey(
    git: Git, prefix: str, stores: Sequence[Store] = (), quick: bool = False
) -> tuple[Picture, list[Finding]]:
    """The line as both records tell it, and what is wrong with git, tags, head, ledger and the records in cold storage."""
    findings = gitstore.check_packed_refs(git) + gitstore.check_loose_refs(git)
    if findings and git.attempt("for-each-ref")[0]:
        # git does nothing at all now: the rest is looked at when its references can be read again.
        return take(git, prefix, set()), findings
    cold_entries, in_stores = _cold_records(stores)
    findings += in_stores
    damaged = set(gitstore.damaged_loose(git))
    picture = take(git, prefix, damaged, cold_entries)
    if not picture.references and not findings and references(git)[1]:
        raise StateError(
            "git cannot read one reference of this clone: clone it again beside this one, and compare."
        )
    inside, bad = gitstore.check(git, quick, functools.cache(lambda: object_names(picture)))
    findings += inside
    if bad - damaged:
        picture = replace(picture, unreadable=bad)
    findings += tags.check(picture)
    findings += ledgers.check(picture)
    for seal in picture.seals.values():
        findings += tags.check_seal(picture, seal)
    findings += _compare_records(picture, stores)
    return picture, findings


def check_generation(
    picture: Picture, seal: Seal, places: Sequence[Place], beside: Set[str] = frozenset()
) -> tuple[list[Wanted], list[Finding]]:
    """The objects that a generation needs, its ancestors' adapters among them, and what is wrong with its artifact set.

    Ancestors that are checked ``beside`` it are left to their own turn.
    """
    manifest, findings = artifact_set.read(picture, seal)
    wanted, of_objects = content.wanted(seal.name, manifest.outs.values(), manifest.hashes, places)
    findings += of_objects
    for ancestor in ledgers.line_of(picture, seal.number)[1:]:
        if ancestor.name in beside:
            continue
        its = artifact_set.read(picture, ancestor)[0]
        needed = [
            out
            for path, out in its.outs.items()
            if path in (artifacts.ADAPTER.as_posix(), artifacts.BASE.as_posix())
        ]
        if picture.unreadable or needed:
            more, of_objects = content.wanted(ancestor.name, needed, its.hashes, places)
            wanted += more
            findings += of_objects
        else:
            adapter = artifacts.ADAPTER.as_posix()
            findings.append(
                Finding(Problem.ADAPTER_MISSING, GIT, adapter, ancestor.name, (seal.name,))
            )
    return wanted, findings


def choose(picture: Picture, chosen: Sequence[str]) -> list[Seal]:
    """Sealed generations by 3, G003, full name or HEAD; all for none chosen. Raises InputError."""
    from luna import names

    if not chosen:
        return list(picture.seals.values())
    chosen_seals = []
    for reference in chosen:
        if names.is_head(reference):
            head = TagBody.of(
                picture.bodies.get(picture.tags.get(names.head_tag(picture.prefix), ""))
            )
            seal = next(
                (seal for seal in picture.seals.values() if seal.commit == head.object),
                None,
            )
        else:
            number = names.number_of(reference)
            seal = picture.seals.get(number) if number is not None else None
            if seal and names.is_generation(reference) and seal.name != reference:
                seal = None
        if seal is None:
            raise InputError(f"There is no generation {reference!r}: see 'luna log'.")
        chosen_seals.append(seal)
    return list(dict.fromkeys(chosen_seals))


def usable(git: Git, stores: Sequence[Store]) -> tuple[list[Store], list[Finding]]:
    """The stores that this line can be held against, and a finding for each that is away, lost, or another line's."""
    good, findings = [], []
    for store in stores:
        problem, remedy = Problem.STORE_SILENT, None
        try:
            seen = whose.look(store, git)
            sentence = None if seen.holding is Holding.FORKED else whose.refusal(seen, git)
            problem = Problem.STORE_REFUSED
            remedy = f"luna cold PATH{whose.named(git, store)} (mount its disk first, or give another path)"
        except ColdStorageError as error:
            sentence = str(error)
        except (InputError, StateError):  # git itself is damaged: what the store says may mend it
            sentence = None
        if sentence is None:
            good.append(store)
        else:
            where = cold_storage(store.name)
            findings.append(Finding(problem, where, store.address, None, (sentence,), remedy))
    return good, findings


def _cold_records(stores: Sequence[Store]) -> tuple[list[record.Entry] | None, list[Finding]]:
    """The longest whole record that a store holds, and findings on those that are not whole."""
    best: list[record.Entry] | None = None
    findings = []
    for store in stores:
        try:
            entries = record.in_cold(store)
        except Exception as error:
            problem, why = (
                (Problem.COLD_RECORD_DAMAGED, str(error))
                if isinstance(error, InputError)
                else (Problem.COLD_RECORD_UNREAD, type(error).__name__)
            )
            where = cold_storage(store.name)
            findings.append(Finding(problem, where, record.COLD_FOLDER, None, (why,)))
            continue
        if best is None or len(entries) > len(best):
            best = entries
    return best, findings


def _compare_records(picture: Picture, stores: Sequence[Store]) -> list[Finding]:
    findings = []
    for store in stores:
        try:
            theirs = record.in_cold(store)
        except Exception:
            continue  # named above
        where = cold_storage(store.name)
        differing = next(
            (mine for mine, other in zip(picture.entries, theirs, strict=False) if mine != other),
            None,
        )
        more = len(theirs) - len(picture.entries)
        if differing is not None:
            other = (differing.number,)
            findings.append(Finding(Problem.COLD_RECORD_OTHER, where, differing.tag, None, other))
        elif more < 0:
            lacking = (-more,)
            findings.append(
                Finding(Problem.COLD_RECORD_SHORT, where, record.COLD_FOLDER, None, lacking)
            )
        elif more > 0 and not picture.record.missing:  # that is named by itself
            findings.append(Finding(Problem.RECORD_SHORT, GIT, record.REF, None, (more,)))
    return findings


def _unique(findings: list[Finding]) -> list[Finding]:
    """Each finding once: damage first, and first of all that of the branch."""
    return sorted(
        dict.fromkeys(findings),
        key=lambda finding: (
            finding.severity is Severity.NOTE,
            finding.kind is not Kind.BRANCH,
        ),
    )
