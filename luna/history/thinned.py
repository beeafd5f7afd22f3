"""Records of GGUF files that were taken out of cold storage on purpose.

A record says: this object is not lost. It was rebuilt bit for bit from what the store still holds
just before it was dropped, and 'luna restore' makes it again. The store's copy goes with the store
(any clone that sees the store sees what it lacks and why), the one in git with the line.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from luna import params
from luna.errors import LunaError
from luna.history import attestations
from luna.history.line import Line, read_line
from luna.ledger import Row
from luna.names import GenerationName
from luna.storage.cold import Store

KIND = "thinned"  # the folder's name in the store, the file's in attestations/


@dataclass(frozen=True)
class Record:
    """One dropped object: ``path`` is the output, ``md5`` the name of its object, ``bytes`` its size, ``tools`` what rebuilt it."""

    generation: str
    path: str
    md5: str
    sha256: str
    bytes: int
    tools: str
    when: str


def _parse(document: dict[str, Any]) -> Record:
    return Record(**{item.name: document[item.name] for item in fields(Record)})


def write(store: Store, record: Record) -> None:
    """Write the record into the store."""
    store.write_note(
        KIND,
        f"{record.generation}.json",
        json.dumps(asdict(record), indent=2, ensure_ascii=False).encode() + b"\n",
    )


def forget(store: Store, generation: str) -> None:
    """Remove the generation's record from the store."""
    store.write_note(KIND, f"{generation}.json", None)


def in_store(store: Store) -> dict[str, Record]:
    """Records by generation, as the store has them. A damaged one counts as missing; it is written again from git's."""
    records = {}
    for text in store.notes(KIND).values():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            record = _parse(json.loads(text))
            records[record.generation] = record
    return records


def in_git(line: Line) -> dict[str, Record]:
    """Records by generation, as the tip of the line has them."""
    return {name: _parse(document) for name, document in attestations.read(line, KIND).items()}


def known(line: Line, store: Store) -> dict[str, Record]:
    """Dropped objects by md5, by either record: what a check of the store may miss without calling it lost."""
    return {record.md5: record for record in (in_git(line) | in_store(store)).values()}


def everywhere(root: Path, prefix: str, stores: Sequence[Store]) -> frozenset[str]:
    """MD5 of the objects that were taken out of the stores, by the stores' own notes and, where git can be read, by the line's. For an audit, which must not stop."""
    objects: set[str] = set()
    for store in stores:
        with contextlib.suppress(LunaError, ValueError, KeyError):
            objects |= {record.md5 for record in in_store(store).values()}
    if stores:
        with contextlib.suppress(LunaError, ValueError, KeyError):
            objects |= {record.md5 for record in in_git(read_line(root, prefix)).values()}
    return frozenset(objects)


def kept(rule: params.Cold, line: Line, rows: list[Row]) -> set[str]:
    """The generations whose GGUF stays in cold storage; the current best always does."""
    names = set(line.names)
    match rule.amount:
        case "all":
            chosen = names
        case "promoted":
            promoted = {row.gen for row in rows if row.promoted}
            chosen = {name for name in names if GenerationName.parse(name).number in promoted}
        case "head":
            chosen = set()
        case int(count):
            chosen = set(line.names[-count:])
    return chosen | ({line.head_name} if line.head_name else set())
