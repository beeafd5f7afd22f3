"""Flips bits and truncates files at random; each fault must be detected, named and repaired.

Each fault goes into one file of one copy; then the real verify must name it, the real repair must mend it, and
the file's meaning must be what it was. ``python -m bench.flips`` runs a thousand.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from luna.audit.repair import repair
from luna.audit.verify import verify
from luna.bundle import check
from luna.bundle.make import bundle
from luna.history.line import read_line
from luna.operations.rebuild import remaker
from tests.faults import places
from tests.faults.places import KINDS, S3, Field

_CUT = 0.3  # share of the faults that cut the file; the others flip one bit


@dataclass(frozen=True)
class Fault:
    """One fault and what became of it; ``failure`` is empty where it was detected, named and mended."""

    number: int
    kind: str
    what: str
    detected: bool
    named: bool
    mended: bool
    failure: str = ""


@dataclass
class Tally:
    """All faults of a log, this run's and those before it; ``left``: what the last look at every byte found."""

    faults: list[Fault] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        return [
            f"{fault.number + 1}: {fault.what}: {fault.failure}"
            for fault in self.faults
            if fault.failure
        ] + self.left

    def count(self, what: str = "") -> Counter[str]:
        """By kind of place: all, or those that were ``detected``, ``named`` or ``mended``."""
        return Counter(fault.kind for fault in self.faults if not what or getattr(fault, what))

    @property
    def table(self) -> str:
        counters = [self.count(), *(self.count(what) for what in ("detected", "named", "mended"))]
        rows = [
            f"| {kind} | {' | '.join(str(counter[kind]) for counter in counters)} |"
            for kind in (*KINDS, S3)
            if counters[0][kind]
        ]
        return "\n".join(
            [
                "| damaged | faults | detected | named | mended |",
                "| --- | --- | --- | --- | --- |",
                *rows,
                f"| all | {' | '.join(str(counter.total()) for counter in counters)} |",
            ]
        )


def damaged(content: bytes, chance: random.Random) -> tuple[bytes, str]:
    if chance.random() < _CUT:
        size = chance.randrange(len(content))
        return content[:size], f"cut to {size} of {len(content)} bytes"
    position, bit = chance.randrange(len(content)), chance.randrange(8)
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed), f"bit {bit} of byte {position} flipped"


def inject(place: Field, number: int, kind: str, seed: int, expected: tuple) -> Fault:
    """One fault, the look, the repair, the look again. What was not mended is put back, so that one failure stays one."""
    if kind in (places.TAGS, places.PACKED):
        places.pack(place, kind == places.PACKED)
    for attempt in range(100):
        chance = random.Random(f"{seed}/{number}/{attempt}")
        target = chance.choice(places.targets(place, kind))
        before = target.read()
        after, how = damaged(before, chance)
        target.write(after)
        if not places.is_harmless(kind, target, before):
            break
        target.write(before)
    what = f"{kind}: {target.name}: {how}"
    try:
        fault = (
            _bundle(place, number, what, before, after)
            if kind == places.BUNDLE
            else _line(place, number, kind, what, target, before, expected)
        )
    except Exception as error:  # a crash is a failure of this fault; the run goes on
        fault = Fault(number, kind, what, False, False, False, f"{type(error).__name__}: {error}")
    if fault.failure:
        target.write(before)
    return fault


def _line(
    place: Field,
    number: int,
    kind: str,
    what: str,
    target: places.Target | places.Stored,
    before: bytes,
    expected: tuple,
) -> Fault:
    # Bytes are read in full where bytes were damaged, in a generation that uses them; the rest is always looked at in full.
    quick = kind not in (places.CACHE, places.COLD, S3, places.COLD_GIT)
    chosen = [places.user(place, target)] if kind in (places.CACHE, places.COLD, S3) else []
    stores = place.stores(kind)
    report = verify(place.root, place.prefix, None, chosen, stores, quick, thinned=place.thinned)
    named = places.is_named(place, kind, target, before, report.findings)
    with tempfile.TemporaryDirectory(dir=place.root.parent) as scratch:
        remake = remaker(place.root, place.prefix, Path(scratch), lambda text: None)
        repair(
            place.root,
            place.prefix,
            None,
            stores,
            chosen=chosen,
            quick=quick,
            remake=remake,
            thinned=place.thinned,
        )
    again = verify(place.root, place.prefix, None, chosen, stores, quick, thinned=place.thinned)
    mended = again.clean and places.meaning(place) == expected
    failure = (
        ""
        if named and mended and not report.clean
        else (
            f"{'NOT FOUND' if report.clean else 'not named' if not named else 'not mended'}: {[finding.sentence for finding in report.findings][:2]} -> {[finding.sentence for finding in again.findings][:2]}"
        )
    )
    return Fault(number, kind, what, not report.clean, named, mended, failure)


def _bundle(place: Field, number: int, what: str, before: bytes, after: bytes) -> Fault:
    problems = check.check(str(place.bundle)).problems
    named = places.bundle_is_named(place, before, after, problems)
    for path in (place.bundle, Path(f"{place.bundle}.sha256")):
        path.unlink()
    line = read_line(place.root, place.prefix)
    bundle(line, line.resolve("HEAD"), place.bundle)
    mended = (
        before in (place.bundle.read_bytes(), Path(f"{place.bundle}.sha256").read_bytes())
        and not check.check(str(place.bundle)).problems
    )
    return Fault(
        number,
        places.BUNDLE,
        what,
        bool(problems),
        named,
        mended,
        "" if problems and named and mended else f"problems named: {problems[:2]}",
    )


def run(
    place: Field,
    count: int,
    seed: int,
    which: tuple[str, ...] = KINDS,
    log: Path | None = None,
    until: float | None = None,
    say=lambda text: None,
) -> Tally:
    """Those of ``count`` faults that the ``log`` lacks, until the monotonic clock says ``until``."""
    tally = Tally(
        [Fault(**json.loads(row)) for row in log.read_text(encoding="utf-8").splitlines()]
        if log and log.exists()
        else []
    )
    past = {(fault.number, fault.kind) for fault in tally.faults}
    todo = [
        (number, which[number % len(which)])
        for number in range(count)
        if (number, which[number % len(which)]) not in past
    ]
    stores = [place.store, *([place.s3] if place.s3 else [])]
    if todo and (dirty := _left(place, stores)):
        raise SystemExit(
            f"The line was not whole before the first fault ({dirty[0]}): run 'luna verify --all --remote' in it."
        )
    expected = places.meaning(place)
    for number, kind in todo:
        if until is not None and time.monotonic() > until:
            break
        fault = inject(place, number, kind, seed, expected)
        tally.faults.append(fault)
        say(f"{number + 1} of {count}: {fault.what}: {fault.failure or 'detected, named, mended'}")
        if log:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(fault)) + "\n")
    if todo:
        tally.left = [
            f"left at the end: {said}" for said in _left(place, stores)
        ]  # every byte of everything
    return tally


def _left(place: Field, stores: list) -> list[str]:
    found = verify(place.root, place.prefix, None, stores=stores, thinned=place.thinned)
    return [finding.sentence for finding in found.findings if finding.severity == "damage"]
