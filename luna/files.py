"""Reading and writing files so that a kill or a full disk never leaves half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from luna.errors import InputError

CHUNK_BYTES = 1 << 20
_ATTEMPTS = 100  # at a place that another program fills while it is replaced


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; it takes the place of ``path`` when the block ends well.

    The old file is unlinked, never written through: a workspace file may be a hard link into DVC's cache.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path, scratch: Path) -> Iterator[Path]:
    """A new folder inside ``scratch``; it takes the place of ``path``, whatever stands there, when the block ends well.

    As with ``replacing``: what stood there is moved away and unlinked, never written through, also when somebody
    (a checkout) puts it there meanwhile. ``scratch`` is on the file system of ``path``.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=scratch) as place:
        new = Path(place) / "new"
        new.mkdir()
        yield new
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                path.rename(Path(place) / f"old{attempt}")
            try:
                new.rename(path)
                break
            except OSError:  # it is there again
                if attempt == _ATTEMPTS - 1 or not os.path.lexists(path):
                    raise


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path``; it becomes ``path``, which must be new or empty, when the block ends well.

    Raises InputError when ``path`` is there and not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is there and not empty: give a new folder with --to.")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.replace(path)  # takes the place of an empty folder, and of nothing else
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_inside(relative: object) -> bool:
    """Whether a path that a file names (a folder's listing, say) stays in its folder."""
    if not isinstance(relative, str) or not relative or "\\" in relative or "\0" in relative:
        return False
    path = PurePosixPath(relative)
    return (
        not path.is_absolute() and ".." not in path.parts and not re.match(r"[A-Za-z]:", relative)
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step: it is the old one or the new one, never half."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def json_text(value: Any) -> str:
    """Indented JSON with a line end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON in one step."""
    write_text(path, json_text(value))


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one line of JSON per row, in one step."""
    write_text(
        path,
        "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows),
    )


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[Any]:
    """Read one value per line; empty lines are left out."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes, read as a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def sha256_line(path: Path, name: str) -> str:
    """One line as ``sha256sum`` writes and checks it (two spaces between digest and name)."""
    return f"{digest(path)}  {name}\n"
