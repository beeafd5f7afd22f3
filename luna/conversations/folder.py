"""Reads a folder of conversations: each entry is read, ignored by a rule, or refused by name.

* Read: plain files (or links to such) whose names end in ``.jsonl``.
* Ignored: names that begin with ``.`` or end with ``~`` (editors' files, ``.gitkeep``), ``README*``,
  ``LICENSE*``, ``*.md``, the batch list, and folders in which there is nothing to read or to refuse.
* Refused: all else, since it may be meant to be learnt. So is whatever DVC fails on or waits for in a
  folder that it watches, whatever its name: FIFOs, sockets, devices, links that lead nowhere or round in a
  circle, names that are no UTF-8.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from luna.conversations import schema
from luna.conversations.schema import Conversation
from luna.errors import InputError
from luna.text import escaped

SUFFIX = ".jsonl"
_OLD_LIST = "batch.txt"  # of a renumbered generation, as earlier versions of Luna left it
_DOCUMENTS = ("readme", "license", "licence")
_ELSEWHERE = "move it elsewhere, and take its conversations from there with 'luna import'"
_NAMED = 10  # files with a fault that one error names; of the others it says how many
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz")
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Kind(Enum):
    """How an entry of the folder is treated."""

    READ = "read"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True)
class FolderEntry:
    """``why`` says what is wrong with a refused one, and what to do."""

    path: Path
    kind: Kind
    why: str = ""

    @property
    def sentence(self) -> str:
        """Path and reason, for a person."""
        return f"{escaped(self.path.as_posix())} {self.why}."


def entries(
    folder: Path, deep: bool = False, unread: str = "move its files up"
) -> list[FolderEntry]:
    """Every entry of the folder, by name; none where there is no such folder.

    ``deep``: sub-folders are read too. ``unread`` is the advice for one that is not read.
    """
    if not folder.exists() and not folder.is_symlink():
        return []
    return list(_walk(folder, deep, unread, ()))


def files(folder: Path, deep: bool = False, unread: str = "move its files up") -> list[Path]:
    """The files to read. Raises InputError for the first entry that is refused."""
    listed = entries(folder, deep, unread)
    if refused := next((entry for entry in listed if entry.kind is Kind.REFUSED), None):
        raise InputError(refused.sentence)
    return [entry.path for entry in listed if entry.kind is Kind.READ]


def contents(
    folder: Path, deep: bool = False, unread: str = "move its files up", vanishing: bool = False
) -> list[tuple[Path, list[Conversation]]]:
    """The files to read, each with its conversations; ``vanishing``: one that is gone by now is passed over.

    Raises InputError naming each file that is not right, with its first fault.
    """
    listed, faults = [], []
    for entry in entries(folder, deep, unread):
        try:
            if entry.kind is Kind.REFUSED:
                raise InputError(entry.sentence)
            if entry.kind is Kind.READ:
                listed.append((entry.path, schema.load_file(entry.path)))
        except FileNotFoundError:
            if not vanishing:
                faults.append(
                    f"{escaped(entry.path.as_posix())} was removed while it was read: run the command again."
                )
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError(_all_of(faults))
    return listed


def _all_of(faults: list[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    more = len(faults) - _NAMED
    rest = [f"and {more} more"] if more > 0 else []
    return "\n  ".join([f"{len(faults)} files are not right:", *faults[:_NAMED], *rest])


def load(folder: Path) -> list[Conversation]:
    """Every distinct conversation of the folder's own files, in the order of their identities.

    Of two with the same content the first by file name and line gives the optional fields.
    Raises InputError naming file and line.
    """
    return schema.distinct(item for _, items in contents(folder) for item in items)


def _walk(folder: Path, deep: bool, unread: str, above: tuple[Path, ...]) -> Iterator[FolderEntry]:
    try:
        real = folder.resolve(strict=True)
        names = sorted(path.name for path in folder.iterdir())
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links, before Python 3.13
        yield FolderEntry(folder, Kind.REFUSED, f"is no folder that can be read ({_reason(error)})")
        return
    if real in above:
        yield FolderEntry(
            folder, Kind.REFUSED, "is a link to a folder that contains the link: remove the link"
        )
        return
    for name in names:
        path = folder / name
        try:
            entry = _classified(path)
        except FileNotFoundError:
            continue  # removed since the folder was listed: the inbox's writers never stop
        if entry is not None:
            yield entry
            continue
        inside = list(_walk(path, True, unread, (*above, real)))
        if all(item.kind is Kind.IGNORED for item in inside):
            yield FolderEntry(path, Kind.IGNORED)
        elif deep or not any(item.kind is Kind.READ for item in inside):
            yield from inside
        else:
            yield FolderEntry(
                path, Kind.REFUSED, f"is a folder, and folders are not read here: {unread}"
            )


def _classified(path: Path) -> FolderEntry | None:
    """One entry; None for a folder, whose content decides. Raises FileNotFoundError when it is gone."""
    name, lower = path.name, path.name.lower()
    try:
        name.encode()
    except UnicodeEncodeError:
        return FolderEntry(path, Kind.REFUSED, "has a name that is not UTF-8: rename it")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
            way = "nowhere" if error.errno == errno.ENOENT else "round in a circle"
            why = f"is a symbolic link that leads {way}: remove it, or point it to a file"
        else:
            path.lstat()
            why = f"cannot be read ({_reason(error)})"
        return FolderEntry(path, Kind.REFUSED, why)
    ignored = (
        name.startswith(".")
        or name.endswith("~")
        or lower.startswith(_DOCUMENTS)
        or lower.endswith(".md")
        or name == _OLD_LIST
    )
    if stat.S_ISDIR(mode):
        if name.startswith("."):
            return FolderEntry(path, Kind.IGNORED)
        if lower.endswith(SUFFIX):
            return FolderEntry(
                path, Kind.REFUSED, "is a folder, though it is named like a file: rename it"
            )
        return None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no plain file")
        return FolderEntry(path, Kind.REFUSED, f"is {kind} and not a regular file: remove it")
    if ignored:
        return FolderEntry(path, Kind.IGNORED)
    if name.endswith(SUFFIX):
        return FolderEntry(path, Kind.READ)
    return FolderEntry(path, Kind.REFUSED, _unread(lower))


def _unread(lower: str) -> str:
    """What is wrong with the name of a plain file, and what to do."""
    if lower.endswith(SUFFIX):
        return "is not read, because its name does not end in lower-case .jsonl: rename it"
    if lower.endswith(_PACKED):
        return f"is not read, because it is compressed: decompress it, or {_ELSEWHERE}"
    if lower.endswith((".ndjson", ".jsonlines")):
        return "is not read: rename it to end in .jsonl, or move it elsewhere"
    return f"is not read, because its name does not end in .jsonl: {_ELSEWHERE}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
