"""The work of `luna import`: other programs' conversations become files of data/conversations.

Every source is read whole before anything is written: first into files without a name, which a kill leaves no trace
of, then each beside its place and renamed. What is known already, by content, is left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from luna import artifacts, files, params
from luna.conversations import folder, jsonl, schema
from luna.errors import InputError
from luna.importing import mend
from luna.importing.chatlog import Sides
from luna.importing.draft import Form, Located, Mend, Reason, Unusable
from luna.importing.read import Reading
from luna.importing.survey import Survey, Surveyor

#: What an import could not use, with the reasons. Never read; git ignores it.
REJECTED = Path("data/rejected")
_TOLD_EVERY = 5_000  # conversations, between two calls of ``progress``
_WRONG_SHOWN = 3  # rejected rows of a source
_MOST_OF_A_ROW = 100_000  # characters of a rejected row that are kept


@dataclass
class Imported:
    """What became of one source. Paths are relative to the repository; None where there was nothing to write.

    ``known``: already in data/conversations or in the inbox; ``repeated``: twice in this call's sources. ``wrong``: where the
    first rejected rows are, and what is wrong with them.
    """

    source: str
    read: int = 0
    taken: int = 0
    known: int = 0
    repeated: int = 0
    rejected: int = 0
    forms: Counter[Form] = field(default_factory=Counter)
    mended: Counter[Mend] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    rejects: Path | None = None
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """All sources of a call, and a survey of what was taken from them together."""

    sources: list[Imported]
    survey: Survey
    dry_run: bool


@dataclass
class _Written:
    """Lines as they come, in a file without a name, and the digest of all of them."""

    file: IO[bytes]
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, line: str) -> None:
        raw = line.encode()
        self.digest.update(raw)
        self.file.write(raw)


def run(
    root: Path,
    sources: list[Path],
    sides: Sides,
    inbox: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda count: None,
) -> Result:
    """Import the sources; ``progress`` is called with the number of conversations read so far.

    Raises InputError with one sentence where a source cannot be used, or a conversation that is there already is
    not valid; then nothing is written.
    """
    settings = params.load(root)
    for path in sources:
        _require_elsewhere(root, path)
    known = set(_identities(root))
    taken: set[bytes] = set()
    surveyor = Surveyor(root, settings.train.max_seq_length)
    results: list[Imported] = []
    with contextlib.ExitStack() as stack:
        written = []
        for path in sources:
            kept, rejects = (_Written(stack.enter_context(_nameless(root))) for _ in range(2))
            reading = Reading(path, sides)
            result = Imported(path.name or str(path))
            for item in reading.conversations():
                _take(item, result, known, taken, kept, rejects, surveyor)
                if result.read % _TOLD_EVERY == 0:
                    progress(sum(other.read for other in results) + result.read)
            result.skipped = reading.skipped
            results.append(result)
            written.append((result, kept, rejects))
        if not dry_run:
            for result, kept, rejects in written:
                _keep(root, result, kept, rejects, inbox)
    return Result(results, surveyor.survey(), dry_run)


def _require_elsewhere(root: Path, source: Path) -> None:
    """Raises InputError for the repository itself, or what it is in: an empty name means this folder."""
    if root.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"'{source}' holds this repository itself, whose examples and tests would be imported too: name the file or folder to import."
        )


def _take(
    item: Located,
    result: Imported,
    known: set[bytes],
    taken: set[bytes],
    kept: _Written,
    rejects: _Written,
    surveyor: Surveyor,
) -> None:
    result.read += 1
    try:
        if isinstance(item.content, Unusable):
            raise item.content
        mended = mend.mended(item.content)
    except Unusable as error:
        result.rejected += 1
        result.reasons[error.reason] += 1
        if len(result.wrong) < _WRONG_SHOWN:
            result.wrong.append(f"{item.where or 'a row'}: {_sentence(error)}")
        rejects.add(_rejected(result.source, item, error))
        return
    identity = bytes.fromhex(mended.conversation.identity)
    if identity in known:
        result.known += 1
    elif identity in taken:
        result.repeated += 1
    else:
        taken.add(identity)
        result.taken += 1
        result.forms[mended.form] += 1
        result.mended.update(mended.rules)
        kept.add(mended.line)
        surveyor.add(mended.conversation, f"{result.source} {item.where}".strip())


def _identities(root: Path) -> Iterator[bytes]:
    """Of what is in data/conversations and in the inbox. Raises InputError naming file and line of what is not valid."""
    for where in (root / artifacts.CONVERSATIONS, root / artifacts.INBOX):
        for entry in folder.entries(where, deep=True):
            if entry.kind is not folder.Kind.READ:
                continue  # 'luna new' says what is wrong with it
            shown = entry.path.relative_to(root).as_posix()
            with contextlib.suppress(FileNotFoundError):  # 'luna new' has just taken the inbox in
                for number, row in jsonl.rows(entry.path, shown):
                    with jsonl.naming(shown, number):
                        yield bytes.fromhex(schema.parse(row).identity)


@contextlib.contextmanager
def _nameless(root: Path) -> Iterator[IO[bytes]]:
    scratch = root / artifacts.SCRATCH
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        yield file


def _sentence(error: Unusable) -> str:
    return f"It {error}{'' if str(error).endswith('?') else '.'}"


def _rejected(source: str, item: Located, error: Unusable) -> str:
    row: Any = item.row
    try:
        text = json.dumps(row, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = repr(row)
        row = text
    if len(text) > _MOST_OF_A_ROW:
        row = text[:_MOST_OF_A_ROW]
    line = {
        "source": source,
        "where": item.where,
        "reason": error.reason.value,
        "sentence": _sentence(error),
        "row": row,
    }
    text = json.dumps(line, ensure_ascii=False, default=str, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def _keep(root: Path, result: Imported, kept: _Written, rejects: _Written, inbox: bool) -> None:
    """Give what was written its name: rejects first, so that nobody misses them who sees the conversations."""
    name = _slug(result.source)
    if result.rejected:
        result.rejects = REJECTED / f"{name}-{rejects.digest.hexdigest()[:12]}.jsonl"
        with files.replacing(root / result.rejects) as path:
            _copy(rejects.file, path)
    if result.taken:
        where = artifacts.INBOX if inbox else artifacts.CONVERSATIONS
        stem = f"import-{name}-{kept.digest.hexdigest()[:12]}"
        # A file of this name that is there was edited since, else all of it were known: it stays.
        for number in range(1, 1000):
            result.file = where / (f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl")
            try:
                with files.creating(root / result.file) as path:
                    _copy(kept.file, path)
                return
            except FileExistsError:
                continue
        raise InputError(f"{where} holds a thousand files named {stem}: remove those not needed.")


def _copy(file: IO[bytes], path: Path) -> None:
    file.seek(0)
    with path.open("wb") as target:
        shutil.copyfileobj(file, target, files.CHUNK_BYTES)


def _slug(name: str) -> str:
    """The source's name as a part of a file's name: small letters, digits and hyphens."""
    stem = name.rsplit(".", 1)[0] if "." in name.strip(".") else name
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40] or "source"
