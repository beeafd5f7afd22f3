"""Cold storage: the DVC remote, written by DVC and trusted only after reading back.

DVC's push, pull and status trust names and file modes and do not hash again, so success is decided
here: the bytes that the store gives back must have the hash that they are stored under.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import artifacts, files, params
from luna.errors import ColdStorageError
from luna.files import CHUNK_BYTES, digests
from luna.repo.settings import standing
from luna.storage import cache, config
from luna.text import first_line

_JUST_WRITTEN = " just after it was written: nothing was sealed; check the store."
QUARANTINE = artifacts.QUARANTINE.name  # in a store, beside the objects' folder
WRITE_TEST = "luna-write-test.txt"
FILES, HASH = (
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
        with self.explained():
            return self.odb.fs.exists(self.path(md5))

    def digest(self, md5: str, read: Callable[[int], None] = lambda count: None) -> str:
        """MD5 of the bytes that the store gives back, read as a stream; ``read`` gets the size of each piece. Raises FileNotFoundError."""
        with self.odb.fs.open(self.path(md5), "rb") as file:
            return digests(file, sha256=False, read=read).md5

    def download(self, md5: str, target: Path) -> None:
        """Copy the object to ``target``. Raises ColdStorageError where the store lacks it."""
        with self.explained():
            try:
                with self.odb.fs.open(self.path(md5), "rb") as source, target.open("wb") as file:
                    while chunk := source.read(CHUNK_BYTES):
                        file.write(chunk)
            except FileNotFoundError:
                away = (
                    ""
                    if self.is_there()
                    else f"; its folder {self.root} does not exist (is its disk mounted?)"
                )
                raise ColdStorageError(
                    f"Object {md5[:12]} is neither in the cache nor in the cold storage '{self.name}'{away}."
                ) from None

    def sizes(self) -> dict[str, int]:
        """Bytes of every object in the store, by md5; one listing."""
        with self.explained():
            if self.is_local:
                by_path = {
                    str(path): path.stat().st_size
                    for path in Path(self.odb.path).rglob("*")
                    if path.is_file()
                }
            else:
                by_path = {
                    path: info["size"]
                    for path, info in self.odb.fs.fs.find(self.odb.path, detail=True).items()
                }
            return {
                "".join(self.odb.fs.parts(path)[-2:]): size
                for path, size in by_path.items()
                if not path.endswith(".tmp")
            }

    def remove(self, md5: str) -> None:
        """Delete the object from the store."""
        with self.explained():
            self.odb.fs.remove(self.path(md5))

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return self.odb.fs.protocol == "local"

    @property
    def root(self) -> str:
        """The remote's own folder; objects lie in files/md5 below it."""
        return self.odb.fs.parent(self.odb.fs.parent(self.odb.path))

    @property
    def address(self) -> str:
        """As a person writes it: a path, or s3://bucket/folder."""
        return self.root if self.is_local else f"{self.odb.fs.protocol}://{self.root}"

    def is_there(self) -> bool:
        """Whether there is a folder at all; an object store has none, and shows what lies in it.

        Raises ColdStorageError where the folder is there and cannot be read: that is not "there is none".
        """
        if not self.is_local:
            return True
        with self.explained():
            try:
                with os.scandir(self.root) as entries:
                    next(entries, None)
            except FileNotFoundError:
                return False
        return True

    def listed(self, folder: str = "") -> list[str]:
        """Names of all files and folders that lie directly in the store, or in a folder of it; empty where there is none."""
        fs = self.odb.fs
        base = self.beside(folder) if folder else self.root
        with self.explained():
            try:
                if self.is_local:
                    return sorted(path.name for path in Path(base).iterdir())
                fs.fs.invalidate_cache()
                paths = [path.rstrip("/") for path in fs.ls(base, detail=False)]
                return sorted(fs.name(path) for path in paths if path != base.rstrip("/"))
            except FileNotFoundError:
                return []

    def names(self, folder: str) -> list[str]:
        """Names of the files in one of the store's own folders, in order; one listing."""
        fs, base = self.odb.fs, self.beside(folder)
        with self.explained():
            if not self.is_there():
                return []
            if self.is_local:
                try:
                    listed = [path.name for path in Path(base).iterdir()]
                except FileNotFoundError:
                    return []
            else:
                fs.fs.invalidate_cache()
                listed = [fs.name(path) for path in fs.find(base)]
            return sorted(name for name in listed if not name.endswith(".tmp"))

    def read_note(self, folder: str, name: str) -> bytes:
        """One small file. Raises FileNotFoundError."""
        with self.explained():
            return self.odb.fs.cat_file(self.odb.fs.join(self.beside(folder), name))

    def notes(self, folder: str) -> dict[str, bytes]:
        """Small files that are kept beside the objects, by name."""
        return {name: self.read_note(folder, name) for name in self.names(folder)}

    def write_note(self, folder: str, name: str, text: bytes | None) -> None:
        """Write one whole, or remove it (None)."""
        fs = self.odb.fs
        final = fs.join(self.beside(folder), name)
        with self.explained():
            if text is None:
                if fs.exists(final):
                    fs.remove(final)
            elif self.is_local:
                with files.replacing(Path(final)) as temporary:
                    temporary.write_bytes(text)
            else:
                fs.pipe_file(final, text)

    def create_note(self, folder: str, name: str, text: bytes) -> bool:
        """Write a new one; of two clones that do so at once one wins. False: it was there.

        In a folder by a hard link, which fails where the name is taken; in S3 by a conditional write
        (If-None-Match). A server without conditional writes keeps the last one: then the content read back decides.
        """
        fs = self.odb.fs
        final = fs.join(self.beside(folder), name)
        with self.explained():
            if self.is_local:
                try:
                    with files.creating(Path(final), mode=0o444) as temporary:
                        temporary.write_bytes(text)
                except FileExistsError:
                    return False
                return True
            fs.fs.invalidate_cache()
            if fs.exists(final):
                return False
            try:
                fs.fs.pipe_file(final, text, mode="create")
            except FileExistsError:
                return False
            except NotImplementedError:
                fs.pipe_file(final, text)
            fs.fs.invalidate_cache()
            return fs.cat_file(final) == text

    def try_writing(self) -> None:
        """Write a small file and read it back. Raises ColdStorageError where that does not go."""
        text = b"Luna wrote this to see that the store can be written.\n"
        fs, final = self.odb.fs, self.odb.fs.join(self.root, WRITE_TEST)
        with self.explained():
            if self.is_local:
                try:
                    with files.replacing(Path(final)) as temporary:
                        temporary.write_bytes(text)
                    same = Path(final).read_bytes() == text
                    Path(final).unlink()
                except OSError as error:
                    raise ColdStorageError(
                        f"The cold storage '{self.name}' at {self.address} cannot be written ({error.strerror}): "
                        "make it writable, or set up another with 'luna cold PATH'."
                    ) from None
            else:  # one name, and not taken away: a bucket that locks its objects keeps each of them
                fs.pipe_file(final, text)
                same = fs.cat_file(final) == text
        if not same:
            raise ColdStorageError(
                f"The cold storage '{self.name}' at {self.address} returns other bytes than were written: use another store."
            )

    def beside(self, folder: str) -> str:
        """A folder of the store's own, beside the objects."""
        return self.odb.fs.join(self.root, folder)

    def upload(self, source: Path, md5: str) -> None:
        """Copy a file into the store, under its hash."""
        with self.explained():
            self.put(source, self.path(md5))

    def put(self, source: Path | str, final: str) -> None:
        """Write under a temporary name, then rename: a killed upload never looks like an object."""
        if (
            not self.is_local
        ):  # object stores have no folders, and show an object only when it is complete
            self.odb.fs.put_file(str(source), final)
            return
        # DVC's own copy leaves a temporary file behind when the disk is full.
        with (
            files.replacing(Path(final), mode=0o444) as temporary,
            Path(source).open("rb") as given,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(given, file, CHUNK_BYTES)

    def set_aside(self, path: str) -> str:
        """Move a damaged object under ``quarantine`` beside the objects; it is never deleted. Returns where it went."""
        fs = self.odb.fs
        base = self.beside(QUARANTINE)
        name = path.removeprefix(self.root).strip("/\\").replace("/", "_").replace("\\", "_")
        number = 0
        with self.explained():
            fs.makedirs(base)
            while fs.exists(target := fs.join(base, f"{name}.{number}" if number else name)):
                number += 1
            if self.is_local:
                Path(path).rename(target)  # a link is moved itself, not followed
            else:
                fs.move(path, target)
        return target

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what a store's library raises into one sentence; our own errors and a missing file pass."""
        try:
            yield
        except (ColdStorageError, FileNotFoundError):
            raise
        except Exception as error:
            raise ColdStorageError(
                f"The cold storage '{self.name}' at {self.address} did not answer as expected "
                f"({type(error).__name__}: {first_line(error)}): correct that, then run the same command again; nothing is lost."
            ) from error


_OTHER_KINDS = {  # what DVC needs for them; Luna's own packages are dvc and dvc-s3
    "ssh": "dvc-ssh",
    "sftp": "dvc-ssh",
    "gs": "dvc-gs",
    "azure": "dvc-azure",
    "gdrive": "dvc-gdrive",
    "hdfs": "dvc-hdfs",
    "webhdfs": "dvc-webhdfs",
    "webdav": "dvc-webdav",
    "webdavs": "dvc-webdav",
    "oss": "dvc-oss",
}


def require_supported(url: str) -> None:
    """A folder and S3 come with Luna; some others with a further package. Raises ColdStorageError saying which."""
    import importlib.util

    scheme, separator, rest = url.partition("://")
    if not separator or scheme in ("s3", "remote"):
        return
    if scheme == "file":
        raise ColdStorageError(f"{url}: give a folder by its path alone, '{rest}', not as file://.")
    package = _OTHER_KINDS.get(scheme)
    if package is None:
        raise ColdStorageError(
            f"{url}: cold storage is a folder or s3://BUCKET/FOLDER; '{scheme}://' cannot be written by DVC."
        )
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        raise ColdStorageError(
            f"{url}: DVC needs a further package for '{scheme}://': pip install {package}, then run the same command again."
        )


def open_store(
    root: Path, name: str | None = None, settings: dict[str, str] | None = None
) -> Store:
    """The default remote, or the one named, as this checkout's configuration defines it now, or as ``settings`` would.

    Raises:
        ColdStorageError: there is none of that name, or its configuration is not valid.
    """
    from dvc.exceptions import DvcException
    from dvc.fs import get_cloud_fs
    from dvc_data.hashfile.db import get_odb

    settings_of = config.dvc_config(root)
    label = name or settings_of["core"].get("remote")
    if not label:
        raise ColdStorageError("No cold storage is set up: run 'luna cold PATH'.")
    if settings is not None:
        settings_of["remote"][label] = dict(settings)
    if label not in settings_of["remote"]:
        raise ColdStorageError(
            f"No cold storage is set up under the name '{label}': 'luna cold PATH --name {label}' does it."
        )
    url = settings_of["remote"][label].get("url", "")
    require_supported(url)
    try:  # as dvc.repo.Repo would, which takes twice the time to start and opens what a store does not need
        kind, options, path = get_cloud_fs(settings_of, name=label)
        fs = kind(**options)
    except (DvcException, ImportError) as error:
        raise ColdStorageError(
            f"The cold storage '{label}' ({url}) cannot be opened ({' '.join(str(error).split())}): "
            f"'luna cold PATH --name {label}' sets it up again."
        ) from None
    if fs.version_aware or options.pop("worktree", False):
        raise ColdStorageError(
            f"The remote '{label}' stores versions of files instead of objects by their hash: unset its version_aware and worktree."
        )
    return Store(label, get_odb(fs, fs.join(path, FILES, HASH), hash_name=HASH, **options))


def open_all(root: Path, names: Sequence[str] | None = None) -> list[Store]:
    """The stores that count as cold storage: those that params.yaml names (``cold.remotes``; or ``names`` as it named them), else the default remote."""
    return [
        open_store(root, name) for name in (standing(root).cold.remotes if names is None else names)
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
    then: for them only existence is checked. ``read`` gets the bytes read back.

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
    check: Callable[[Store], object],
    tick: Callable[[str], None] = lambda step: None,
) -> int:
    """As ``archive``, in every store of cold storage; as many as ``cold.copies`` must give all back.

    ``check`` raises ColdStorageError for a store that must not be written to. ``tick`` gets a sentence for a store that failed.
    """
    copies, stores = params.load(root).cold.copies, open_all(root)
    uploaded, failures = 0, 0
    for store in stores:
        try:
            check(store)
            uploaded += archive(root, store, md5s, proven)
        except ColdStorageError as failure:
            failures += 1
            if len(stores) - failures < copies:
                raise
            tick(
                f"{failure} {copies} complete copies are enough (cold.copies); bring it up to date later with 'luna archive --all'"
            )
    return uploaded


def prove(
    store: Store,
    md5: str,
    when: str = ": check the store.",
    read: Callable[[int], None] = lambda count: None,
) -> str:
    """Read one object back. Raises ColdStorageError when the store lacks it or gives other bytes."""
    with store.explained():
        try:
            digest = store.digest(md5, read)
        except FileNotFoundError:
            digest = ""
    if digest != md5.removesuffix(".dir"):
        what = "does not hold" if not digest else "returns other bytes for"
        raise ColdStorageError(f"The cold storage '{store.name}' {what} object {md5[:12]}{when}")
    return md5
