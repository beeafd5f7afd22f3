"""Cold storage: the DVC remote, written by DVC's own machinery and believed only after reading back.

DVC's push, pull and status trust names and file modes and do not hash again, so success is decided
here: the bytes that the store gives back must have the hash that they are stored under.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts, params
from luna.errors import ColdStorageError
from luna.files import CHUNK_BYTES
from luna.storage import cache

_JUST_WRITTEN = " just after it was written: nothing was sealed; check the store."
QUARANTINE = artifacts.QUARANTINE.name  # in a store, beside the objects' folder
_FILES, _HASH = (
    "files",
    "md5",
)  # where DVC puts objects below a remote's folder, and what names them
_STREAMS = 2  # hashing is bound by the processor: as many as the smallest machine has cores


@dataclass(frozen=True)
class Store:
    """One DVC remote. ``name`` is the remote's, ``odb`` DVC's object database on it."""

    name: str
    odb: Any

    def path(self, md5: str) -> str:
        """Where the object belongs in the store."""
        return self.odb.oid_to_path(md5)

    def exists(self, md5: str) -> bool:
        """Whether the store has the object."""
        with _Explained(self.name):
            return self.odb.fs.exists(self.path(md5))

    def digest(self, md5: str, read: Callable[[int], None] = lambda count: None) -> str:
        """MD5 of the bytes that the store gives back, read as a stream; ``read`` is told of each piece. Raises FileNotFoundError."""
        found = hashlib.md5(usedforsecurity=False)
        with self.odb.fs.open(self.path(md5), "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                found.update(chunk)
                read(len(chunk))
        return found.hexdigest()

    def download(self, md5: str, target: Path) -> None:
        """Copy the object to ``target``. Raises ColdStorageError where the store lacks it."""
        with _Explained(self.name):
            try:
                with self.odb.fs.open(self.path(md5), "rb") as source, target.open("wb") as file:
                    while chunk := source.read(CHUNK_BYTES):
                        file.write(chunk)
            except FileNotFoundError:
                raise ColdStorageError(
                    f"Object {md5[:12]} is neither in the cache nor in the cold storage '{self.name}'."
                ) from None

    def sizes(self) -> dict[str, int]:
        """Bytes of every object in the store, by md5; one listing."""
        with _Explained(self.name):
            if self.odb.fs.protocol == "local":
                found = {
                    str(path): path.stat().st_size
                    for path in Path(self.odb.path).rglob("*")
                    if path.is_file()
                }
            else:
                found = {
                    path: info["size"]
                    for path, info in self.odb.fs.fs.find(self.odb.path, detail=True).items()
                }
            return {
                "".join(self.odb.fs.parts(path)[-2:]): size
                for path, size in found.items()
                if not path.endswith(".tmp")
            }

    def remove(self, md5: str) -> None:
        """Delete the object from the store."""
        with _Explained(self.name):
            self.odb.fs.remove(self.path(md5))

    def notes(self, folder: str) -> dict[str, bytes]:
        """Small files that are kept beside the objects, by name."""
        fs, place = self.odb.fs, self._beside(folder)
        with _Explained(self.name):
            paths = (
                [path for path in fs.find(place) if not path.endswith(".tmp")]
                if fs.exists(place)
                else []
            )
            return {fs.parts(path)[-1]: fs.cat_file(path) for path in paths}

    def write_note(self, folder: str, name: str, text: bytes | None) -> None:
        """Write one whole, or remove it (None)."""
        import secrets

        fs, place = self.odb.fs, self._beside(folder)
        final = fs.join(place, name)
        with _Explained(self.name):
            if text is None:
                if fs.exists(final):
                    fs.remove(final)
                return
            fs.makedirs(place)
            if fs.protocol != "local":
                fs.pipe_file(final, text)
                return
            temporary = Path(fs.join(place, f".{secrets.token_hex(8)}.tmp"))
            try:
                temporary.write_bytes(text)
                temporary.replace(final)
            finally:
                temporary.unlink(missing_ok=True)

    def _beside(self, folder: str) -> str:
        fs = self.odb.fs
        return fs.join(
            fs.parent(fs.parent(self.odb.path)), folder
        )  # the remote's own folder: objects lie in files/md5

    def upload(self, source: Path, md5: str) -> None:
        """Copy a file into the store, under its hash."""
        with _Explained(self.name):
            self.put(source, self.path(md5))

    def put(self, source: Path | str, final: str) -> None:
        """Write under a temporary name, then rename: a killed upload never looks like an object."""
        import os
        import secrets

        if (
            self.odb.fs.protocol != "local"
        ):  # object stores have no folders, and show an object only when it is complete
            self.odb.fs.put_file(str(source), final)
            return
        parent = self.odb.fs.parent(final)
        self.odb.fs.makedirs(parent)
        temporary = Path(self.odb.fs.join(parent, f".{secrets.token_hex(8)}.tmp"))
        try:
            # DVC's own copy leaves a temporary file of its own behind when the disk is full.
            with Path(source).open("rb") as given, temporary.open("wb") as file:
                shutil.copyfileobj(given, file, CHUNK_BYTES)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o444)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)

    def set_aside(self, path: str) -> str:
        """Move a damaged object under ``quarantine`` beside the objects; it is never deleted. Returns where it went."""
        fs = self.odb.fs
        base = fs.join(fs.parent(fs.parent(self.odb.path)), QUARANTINE)
        name = (
            path.removeprefix(fs.parent(fs.parent(self.odb.path)))
            .strip("/\\")
            .replace("/", "_")
            .replace("\\", "_")
        )
        number = 0
        with _Explained(self.name):
            fs.makedirs(base)
            while fs.exists(target := fs.join(base, f"{name}.{number}" if number else name)):
                number += 1
            if fs.protocol == "local":
                Path(path).rename(target)  # a link is moved itself, not followed
            else:
                fs.move(path, target)
        return target

    def explained(self) -> _Explained:
        """A context that turns the store's own errors into one sentence."""
        return _Explained(self.name)


class _Explained:
    """Turns what a store's library raises into one sentence; our own errors pass."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if (
            error is None
            or not isinstance(error, Exception)
            or isinstance(error, ColdStorageError | FileNotFoundError)
        ):
            return
        raise ColdStorageError(
            f"The cold storage '{self.name}' does not answer as it should ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}): "
            "mend it, then run the same command again; nothing is lost."
        ) from error


def open_store(root: Path, name: str | None = None) -> Store:
    """The default remote, or the one named, as this checkout's configuration defines it now.

    Raises:
        ColdStorageError: there is none of that name, or its configuration is not valid.
    """
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc.fs import get_cloud_fs
    from dvc_data.hashfile.db import get_odb

    try:  # as dvc.repo.Repo would, which takes twice the time to start and opens what a store does not need
        config = Config(str(root / ".dvc"))
        label = name or config["core"].get("remote")
        if not label:
            raise ColdStorageError("No cold storage is set up: see 'dvc remote add --default'.")
        kind, settings, path = get_cloud_fs(config, name=label)
        fs = kind(**settings)
    except DvcException as error:
        raise ColdStorageError(
            f"No cold storage is set up: {error}; see 'dvc remote add --default'."
        ) from None
    if fs.version_aware or settings.pop("worktree", False):
        raise ColdStorageError(
            f"The remote '{label}' keeps versions by itself and not objects by their hash: unset its version_aware and worktree."
        )
    return Store(label, get_odb(fs, fs.join(path, _FILES, _HASH), hash_name=_HASH, **settings))


def open_all(root: Path, names: Sequence[str] | None = None) -> list[Store]:
    """The stores that count as cold storage: those that params.yaml names (``cold.remotes``; or ``names`` as it named them), else the default remote."""
    return [
        open_store(root, name)
        for name in (params.load(root).cold.remotes if names is None else names)
    ] or [open_store(root)]


def archive(
    root: Path,
    store: Store,
    md5s: Iterable[str],
    proven: Iterable[str] = (),
    read: Callable[[int], None] = lambda count: None,
) -> int:
    """Bring objects into the store and prove that it gives them back. Returns how many were uploaded.

    ``proven`` objects belong to a generation that is sealed already, so their bytes were read back
    then: for them it is asked only whether they are still there. ``read`` is told the bytes read back.

    Raises:
        ColdStorageError: an object in the cache is damaged, or the store does not give back what it was given.
    """
    proven = set(proven)
    wanted = list(dict.fromkeys(md5s))
    uploaded = 0
    for md5 in wanted:
        if not store.exists(md5):
            source = cache.find(root, md5)
            if source is None or not cache.is_whole(source, md5):
                state = "missing from" if source is None else "damaged in"
                raise ColdStorageError(
                    f"Object {md5[:12]} is {state} the cache: run 'dvc repro' again, then the same command."
                )
            store.upload(source, md5)
            uploaded += 1
            proven.discard(md5)
    with ThreadPoolExecutor(_STREAMS) as pool:
        list(
            pool.map(
                lambda md5: prove(store, md5, _JUST_WRITTEN, read),
                [md5 for md5 in wanted if md5 not in proven],
            )
        )
    return uploaded


def archive_in_all(
    root: Path,
    md5s: list[str],
    proven: Iterable[str],
    tick: Callable[[str], None] = lambda step: None,
) -> int:
    """As ``archive``, in every store of cold storage; as many as ``cold.copies`` must give all back. ``tick`` is told of a store that did not."""
    copies, stores = params.load(root).cold.copies, open_all(root)
    uploaded, failures = 0, 0
    for store in stores:
        try:
            uploaded += archive(root, store, md5s, proven)
        except ColdStorageError as failure:
            failures += 1
            if len(stores) - failures < copies:
                raise
            tick(
                f"{failure} {copies} whole copies are enough (cold.copies); bring it up to date later with 'luna archive --all'"
            )
    return uploaded


def prove(
    store: Store,
    md5: str,
    when: str = ": check the store.",
    read: Callable[[int], None] = lambda count: None,
) -> str:
    """Read one object back. Raises ColdStorageError when the store lacks it or gives other bytes."""
    with _Explained(store.name):
        try:
            found = store.digest(md5, read)
        except FileNotFoundError:
            found = ""
    if found != md5.removesuffix(".dir"):
        what = "does not hold" if not found else "gives back other bytes for"
        raise ColdStorageError(f"The cold storage '{store.name}' {what} object {md5[:12]}{when}")
    return md5
