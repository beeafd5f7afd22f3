"""Checks every byte of every object, in cache and cold storage, against its hashes.

An object's name is its MD5; hashes.csv gives the SHA-256 of most. The first whole copy is read for
both digests at once; a further copy is then proven by SHA-256 alone, which this generation of
processors computes more than twice as fast as MD5.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from luna import names
from luna.audit.finding import CONTENT, NOTE, OBJECT, Finding
from luna.audit.places import CACHE, NotPlain, Place
from luna.files import is_inside
from luna.history.line import Out

BUFFER_BYTES = 1 << 20
_MISSING = "is missing"
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Wanted:
    """An object that a generation needs. ``size`` and ``sha256`` where something sealed says them; ``path`` is its use."""

    md5: str
    path: str
    generation: str
    size: int | None = None
    sha256: str | None = None


def is_name(md5: object) -> bool:
    """Whether a text may name an object: anything else, such as ``../../x``, must never become a path."""
    return isinstance(md5, str) and _MD5.fullmatch(md5) is not None


def wanted(
    generation: str,
    outs: Iterable[Out],
    hashes: dict[str, tuple[int, str]],
    places: Sequence[Place],
) -> tuple[list[Wanted], list[Finding]]:
    """The objects behind a generation's outputs. ``hashes``: path -> (bytes, SHA-256) from its hashes.csv."""
    found: list[Wanted] = []
    findings: list[Finding] = []
    for out in outs:
        if not out.cached:
            continue
        if not is_name(out.md5):
            findings.append(
                Finding(
                    CONTENT,
                    "git",
                    "dvc.lock",
                    generation,
                    f"the hash of {out.path} is {str(out.md5)[:40]!r}, which is none: it is not followed",
                    "none: it was sealed so",
                )
            )
            continue
        if not out.md5.endswith(".dir"):
            size, sha256 = hashes.get(out.path, (out.size, None))
            found.append(Wanted(out.md5, out.path, generation, size, sha256))
            continue
        found.append(Wanted(out.md5, out.path, generation))
        listing = _whole_listing(out.md5, places)
        for entry in _entries(listing):
            relative, md5 = entry.get("relpath"), entry.get("md5")
            if not is_inside(relative) or not is_name(md5):
                findings.append(
                    Finding(
                        CONTENT,
                        "cache",
                        out.md5,
                        generation,
                        f"the listing of {out.path} names {str(relative)[:60]!r}, which leads out of its folder or is no object: it is not followed",
                        "none: it was sealed so",
                    )
                )
                continue
            path = f"{out.path}/{relative}"
            size, sha256 = hashes.get(path, (None, None))
            found.append(Wanted(md5, path, generation, size, sha256))
    return found, findings


def _entries(listing: bytes | None) -> list[dict]:
    try:
        rows = json.loads(listing or b"[]")
    except ValueError:
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _whole_listing(md5: str, places: Sequence[Place]) -> bytes | None:
    for place in places:
        try:
            if place.size(md5) is None:
                continue
            with place.open(md5) as file:
                content = file.read()
        except Exception:  # what is wrong with it is found when it is read as an object
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5.removesuffix(".dir"):
            return content
    return None


def merged(items: Iterable[Wanted]) -> list[Wanted]:
    """Each object once, with all that is known of it, largest first."""
    found: dict[str, Wanted] = {}
    for item in items:
        known = found.get(item.md5)
        if known is None:
            found[item.md5] = item
        else:
            found[item.md5] = replace(
                known,
                size=known.size if known.size is not None else item.size,
                sha256=known.sha256 or item.sha256,
            )
    return sorted(found.values(), key=lambda item: -(item.size or 0))


def total_bytes(items: Sequence[Wanted], places: Sequence[Place]) -> int:
    """What a full reading will read; objects whose size is not sealed are asked of the first place."""
    total = 0
    for item in items:
        size = item.size
        if size is None:
            try:
                size = places[0].size(item.md5) if places else 0
            except Exception:
                size = 0
        total += (size or 0) * len(places)
    return total


def scan(
    items: Sequence[Wanted],
    places: Sequence[Place],
    quick: bool = False,
    tick: Tick = lambda count: None,
) -> list[Finding]:
    """Findings on every object in every place; reads on as many cores as there are."""
    if quick:
        looked = [(item, place, _look(item, place)) for item in items for place in places]
        present = {item.md5 for item, place, finding in looked if finding is None}
        return [
            _judged(item, finding, item.md5 in present, places)
            for item, _, finding in looked
            if finding
        ]
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        return [
            finding
            for found in pool.map(lambda item: _read(item, places, tick), items)
            for finding in found
        ]


def _judged(item: Wanted, finding: Finding, whole: bool, places: Sequence[Place]) -> Finding:
    """The cache may lack what cold storage holds: it is there for speed, and freeing it breaks no promise."""
    if (
        finding.where != CACHE
        or not finding.what.endswith(_MISSING)
        or not (whole or len(places) == 1 or _is_thinned(item, places))
    ):
        return finding
    what = f"{item.path} is not in the cache" + (
        ""
        if whole
        else "; 'luna verify --remote' says whether cold storage holds it"
        if len(places) == 1
        else ", and cold storage keeps what it is made again from ('luna thin')"
    )
    command = (
        f"luna snapshot restore {item.generation.removeprefix(names.SNAPSHOTS)} --to DIR"
        if names.is_snapshot(item.generation)
        else f"luna restore {item.generation}"
    )
    return replace(finding, what=what, severity=NOTE, mend=f"{command}, when it is needed")


def _is_thinned(item: Wanted, places: Sequence[Place]) -> bool:
    """Whether a store is known to have dropped it on purpose: it is not lost, whichever place lacks it."""
    return any(item.md5 in getattr(place, "thinned", ()) for place in places)


def _finding(item: Wanted, place: Place, what: str) -> Finding:
    return Finding(OBJECT, place.label, item.md5, item.generation, f"{item.path} {what}")


def _look(item: Wanted, place: Place) -> Finding | None:
    try:
        size = place.size(item.md5)
    except NotPlain as error:
        return _finding(item, place, f"is {error} and no plain file: it is not followed")
    except Exception as error:
        return _finding(item, place, f"cannot be asked for: {_said(error)}")
    if size is None:
        return (
            None if item.md5 in getattr(place, "thinned", ()) else _finding(item, place, _MISSING)
        )
    if item.size is not None and size != item.size:
        return _finding(
            item,
            place,
            f"is cut to {size} of {item.size} bytes"
            if size < item.size
            else f"is {size} bytes long, not {item.size}",
        )
    return None


def _read(item: Wanted, places: Sequence[Place], tick: Tick) -> list[Finding]:
    findings: list[Finding] = []
    proven: str | None = (
        None  # SHA-256 of bytes that have the name's MD5 and, where one was sealed, the sealed SHA-256
    )
    for place in places:
        wrong = _look(item, place)
        if wrong and (
            "missing" in wrong.what or "no plain file" in wrong.what or "asked for" in wrong.what
        ):
            findings.append(wrong)
            continue
        try:
            if item.md5 in getattr(place, "thinned", ()) and place.size(item.md5) is None:
                continue
            md5, sha256 = _digests(place, item.md5, both=proven is None, tick=tick)
        except Exception as error:  # whatever a store's library raises: it is a finding, and the other places are still read
            findings.append(_finding(item, place, f"cannot be read: {_said(error)}"))
            continue
        if proven is not None:
            whole = sha256 == proven
        else:
            named = md5 == item.md5.removesuffix(".dir")
            whole = named and item.sha256 in (None, sha256)
            if named and not whole:
                findings.append(
                    _finding(
                        item,
                        place,
                        f"has the MD5 that names it but not the SHA-256 that was sealed ({item.sha256[:12]}): the bytes were forged, or hashes.csv and dvc.lock disagree",
                    )
                )
                continue
        if whole:
            proven = sha256
            if wrong:  # the bytes are whole, so the size that was sealed is not theirs
                findings.append(
                    replace(
                        wrong,
                        kind=CONTENT,
                        what=f"{item.path} is whole, but its sealed size is not its own",
                        mend="none: it was sealed so",
                    )
                )
        else:
            findings.append(wrong or _finding(item, place, "has other bytes than its name says"))
    return [_judged(item, finding, proven is not None, places) for finding in findings]


def _digests(place: Place, md5: str, both: bool, tick: Tick) -> tuple[str | None, str]:
    first = hashlib.md5(usedforsecurity=False) if both else None
    second = hashlib.sha256()
    with place.open(md5) as file:
        buffer = bytearray(BUFFER_BYTES)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            if first:
                first.update(view[:count])
            second.update(view[:count])
            tick(count)
    return first.hexdigest() if first else None, second.hexdigest()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"
