"""`luna restore`: brings a generation's files into the cache, from cold storage or by rebuild."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from luna import files
from luna.errors import ColdStorageError, ExportError
from luna.history.line import Line, Out, kept, read_line, sealed_outs
from luna.operations.rebuild import model_out, rebuild, scratch_folder
from luna.repo.settings import standing
from luna.storage import cache, cold, objects
from luna.storage.cold import Store


def restore(root: Path, name: str, say: Callable[[str], None] = lambda text: None) -> int:
    """Bring every object of a sealed generation into the cache; a GGUF that cold storage does not hold is rebuilt first.

    Returns how many objects came from cold storage or were rebuilt.

    Raises:
        ColdStorageError: an object is neither in the cache nor in cold storage.
        ExportError: the GGUF was rebuilt, and is not the recorded one.
    """
    root = root.resolve()
    return bring_back(root, name, say) + fetch(root, name)


def fetch(root: Path, name: str, tick: Callable[[str], None] = lambda md5: None) -> int:
    """Bring every object of a sealed generation into the cache, intact. Returns how many came from cold storage.

    An object in the cache with wrong bytes goes to quarantine/ and is fetched again.
    """
    fetched = 0
    for md5 in objects.expanded(root, kept(sealed_outs(root.resolve(), name))):
        fetched += objects.whole(root, md5)[1]
        tick(md5)
    return fetched


def bring_back(root: Path, name: str, say: Callable[[str], None] = lambda text: None) -> bool:
    """The GGUF of a generation in the cache: as it is there, or from cold storage, or rebuilt. Returns whether it was rebuilt."""
    root = root.resolve()
    out = model_out(root, name)
    path = cache.find(root, out.md5)
    if (path and cache.is_whole(path, out.md5)) or any(
        _holds(store, out.md5) for store in cold.open_all(root)
    ):
        return False
    return rebuild_into_cache(root, name, say)


def rebuild_into_cache(
    root: Path, name: str, say: Callable[[str], None] = lambda text: None
) -> bool:
    """As ``remake``, in a scratch folder of its own."""
    root = root.resolve()
    with scratch_folder(root) as scratch:
        return remake(
            root,
            read_line(root, standing(root).line.prefix),
            name,
            scratch,
            lambda text: say(f"{name}: {text}"),
        )


def remake(
    root: Path, line: Line, name: str, scratch: Path, say: Callable[[str], None] = lambda text: None
) -> bool:
    """The GGUF in the cache, rebuilt where the cache lacks it. Returns whether it was rebuilt.

    Raises:
        ExportError: the rebuilt file is not the recorded one; it is not taken.
    """
    out = model_out(root, name)
    path = cache.find(root, out.md5)
    if path and cache.is_whole(path, out.md5):
        return False
    done = rebuild(root, line, name, scratch, say)
    if not done.same or not cache.is_whole(done.model, out.md5):
        raise ExportError(
            f"{name} was rebuilt, but the result differs (SHA-256 {done.sha256[:12]}, the ledger says {done.expected[:12]}): "
            f"it was not used; see 'luna rebuild {name} --check'."
        )
    _into_cache(root, out, done.model)
    return True


def _holds(store: Store, md5: str) -> bool:
    with contextlib.suppress(ColdStorageError):  # one that does not answer holds nothing now
        return store.exists(md5)
    return False


def _into_cache(root: Path, out: Out, model: Path) -> None:
    with files.replacing(cache.path_of(root, out.md5), mode=0o444) as temporary:
        shutil.move(model, temporary)  # the cache may be on another file system
