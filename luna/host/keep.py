"""`luna.snapshot`: keeps a folder of the host application beside the generations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luna.errors import from_os_error
from luna.operations import snapshot as history
from luna.operations.gate import changing
from luna.operations.snapshot import Kept, Snapshot
from luna.repo.git import Git


@contextmanager
def _at_work(root: Path) -> Iterator[None]:
    try:
        with changing(root, "snapshot"):
            yield
    except OSError as error:
        raise from_os_error(error) or error from error


def snapshot(path: Path | str, tag: str, description: str, root: Path | str = ".") -> Kept:
    """Keep the folder ``path`` (configuration, memories, prompts) immutably as ``snapshot/TAG`` in the repository ``root``.

    When it returns, every byte is in cold storage and has been read back. The same call again does nothing more;
    after a kill it resumes. Nothing should write to the folder meanwhile: files are read one after another.

    Raises:
        InputError: the tag is taken or not allowed, the folder is empty or holds what would not come back as it was.
        Busy: another Luna command is at work in the repository; a build is one, from its start to its seal.
        ColdStorageError: cold storage cannot be written, or does not give back what it was given; no tag was made.
    """
    repository = Git(Path(root)).root
    with _at_work(repository):
        return history.make(repository, Path(path), tag, description)


def snapshots(root: Path | str = ".") -> list[Snapshot]:
    """Every snapshot, by name."""
    return history.listed(Git(Path(root)).root)


def restore_snapshot(tag: str, to: Path | str, root: Path | str = ".") -> int:
    """Write a snapshot's files into the new or empty folder ``to``, complete or not at all; each is checked by hash.

    Returns how many objects came from cold storage.

    Raises:
        InputError: there is no such snapshot, or ``to`` is there and not empty.
        Busy: another Luna command is at work in the repository.
        ColdStorageError: no intact copy of its bytes is left.
    """
    repository = Git(Path(root)).root
    with _at_work(repository):
        return history.restore(repository, tag, Path(to))
