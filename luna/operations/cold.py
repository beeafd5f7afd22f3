"""`luna cold`: checks a folder or bucket and sets it up as this clone's cold storage.

Also the folder that a line has of its own: the shipped configuration names ``~/luna-cold-storage``, and a line's first
command that writes there gives the line a folder below it, named in ``.dvc/config``, which git carries to every clone.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from luna import files, params
from luna.errors import ColdStorageError, InputError, StateError
from luna.history import backup, record, stores
from luna.history.line import Line
from luna.history.stores import Holding
from luna.history.tip import require_tip
from luna.repo.git import Git, Update
from luna.repo.settings import standing
from luna.storage import cold, config, packs
from luna.storage.cold import Store

CONFIG = ".dvc/config"

#: What a store has at its top, beside the objects.
_OWN = {record.COLD_FOLDER, packs.FOLDER, cold.QUARANTINE, cold.WRITE_TEST, "runs"}
#: What a system puts on a disk or into a folder by itself.
_SYSTEM = {
    "$RECYCLE.BIN",
    ".DS_Store",
    ".Spotlight-V100",
    ".Trashes",
    ".fseventsd",
    "System Volume Information",
    "lost+found",
}


@dataclass(frozen=True)
class StoreSummary:
    """One store: ``address`` as a person writes it, ``holds`` one line of what is there, ``good`` whether a seal may use it."""

    name: str
    address: str
    holds: str
    good: bool
    begun: bool = False


def show(root: Path) -> list[StoreSummary]:
    """What is set up now, and what each store holds. Raises ColdStorageError where nothing is set up."""
    git = Git(root)
    return [_seen(store, git) for store in cold.open_all(root)]


@dataclass(frozen=True)
class Unused:
    """A remote that is set up and is no cold storage: ``remotes`` is the value of ``cold.remotes`` that makes it one, ``address`` where it is."""

    name: str
    address: str
    remotes: list[str]


def unused(root: Path) -> list[Unused]:
    """The folders and buckets that DVC's configuration names, and that no seal, archive or check uses."""
    default = config.default_remote(root)
    used = standing(root).cold.remotes or ([default] if default else [])
    return [
        Unused(name, url, [*used, name])
        for name, settings in config.remotes(root).items()
        if name not in used
        and (url := settings.get("url", ""))
        and (config.is_folder(url) or url.startswith("s3://"))
    ]


def _seen(store: Store, git: Git) -> StoreSummary:
    try:
        seen = stores.look(store, git)
        refusal = stores.refusal(seen, git)
        return StoreSummary(
            store.name, store.address, refusal or stores.described(seen), refusal is None
        )
    except ColdStorageError as error:
        return StoreSummary(store.name, store.address, str(error), False)


def set_up(
    root: Path, address: str, name: str | None, settings: dict[str, str], begin_anew: bool = False
) -> StoreSummary:
    """Make ``address`` the store ``name`` (none: the default one). ``settings`` are further ones of DVC's remote.

    Raises:
        InputError: it cannot be a store, or other files lie there.
        ColdStorageError: it cannot be written and read, is another line's, or holds nothing of a line that is older
            than it: that is begun with ``begin_anew`` only. Nothing is changed then.
    """
    git = Git(root)
    label = name or config.default_remote(root) or config.DEFAULT_REMOTE
    url = _url(root, address)
    cold.require_supported(url)
    if config.is_folder(url) and settings:
        raise InputError(f"{address} is a folder, and {', '.join(settings)} is for s3:// alone.")
    store = cold.open_store(root, label, {"url": url, **settings})
    seen = stores.look(store, git)
    if seen.holding in (Holding.NEW, Holding.LOST):
        _require_no_other_files(store, address, name)
    added = label not in _counting(root)
    begin = seen.holding is Holding.LOST and (
        begin_anew or (added and store.address not in stores.held(git))
    )
    if seen.holding is Holding.LOST and not begin:
        raise ColdStorageError(
            f"{_nothing_there(store)} The line's record names {seen.known} tags, so its cold storage should hold them: mount its disk, or give its "
            f"path. If it is lost, or if this is a new store, run 'luna cold {address} --begin-anew'; nothing was changed."
        )
    if not begin and (sentence := stores.refusal(seen, git)):
        raise ColdStorageError(sentence)
    store.try_writing()
    config.set_remote(root, label, {"url": url, **settings}, default=not added or not name)
    if begin:
        record.complete(git)
        backup.to_store(store, git, params.load(root).line.prefix)
    if begin or seen.holding is Holding.OURS:
        stores.remember(store, git)
    on_store = _seen(store, git)
    holds = f"{on_store.holds}, and none of its objects yet" if begin else on_store.holds
    return StoreSummary(on_store.name, on_store.address, holds, on_store.good, begin)


def _require_no_other_files(store: Store, address: str, name: str | None) -> None:
    others = [
        entry
        for entry in store.listed()
        if entry not in _OWN
        and entry not in _SYSTEM
        and not entry.startswith(".Trash-")
        and not (entry == cold.FILES and {cold.HASH}.issuperset(store.listed(entry)))
    ]
    if others:
        inside = shlex.quote(f"{address.rstrip('/')}/luna") + (f" --name {name}" if name else "")
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(
            f"{store.address} holds other files ('{others[0]}'{more}), and a store must be empty or hold this line: "
            f"give it a folder of its own in there, 'luna cold {inside}'; nothing was written."
        )


def _nothing_there(store: Store) -> str:
    if not store.is_there():
        return f"There is no folder {store.root}."
    return f"{store.address} holds nothing of this line."


def _counting(root: Path) -> list[str]:
    """The names of the remotes that are cold storage now."""
    default = config.default_remote(root)
    return [*params.load(root).cold.remotes, *([default] if default else [])]


def _url(root: Path, address: str) -> str:
    if not address.strip():
        raise InputError(
            "Give the path of cold storage: 'luna cold /mnt/disk/luna' or 'luna cold s3://BUCKET/FOLDER'."
        )
    if "://" in address:
        scheme, _, rest = address.partition("://")
        if scheme == "s3" and not rest.strip("/"):
            raise InputError(f"{address} names no bucket: give s3://BUCKET/FOLDER.")
        return address.rstrip("/")
    folder = Path(address).expanduser().absolute()
    folder = Path(*folder.parts[:1], *[part for part in folder.parts[1:] if part != "."]).resolve()
    if folder == root.resolve() or folder.is_relative_to(root.resolve()):
        raise InputError(
            f"{folder} is inside this clone and would be deleted with it: give a folder outside, best on another disk."
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder.")
    if "\n" in address:
        raise InputError("A path with a line break cannot be written into DVC's configuration.")
    return str(folder)


# -- the folder that a line has of its own


def planned(root: Path, line: Line) -> str | None:
    """The url that a line which has sealed nothing yet gets, where it would use the shipped one; else None."""
    if record.current(line.git) or not _is_shipped(root):
        return None
    name = config.default_remote(root) or config.DEFAULT_REMOTE
    if stores.look(cold.open_store(root, name), line.git).holding is Holding.OURS:
        return None  # its tags are not in this clone
    today = datetime.now(UTC).strftime("%Y%m%d")
    return f"{config.DEFAULT_ROOT}/{line.prefix}-{today}-{secrets.token_hex(3)}"


def _is_shipped(root: Path) -> bool:
    if params.load(root).cold.remotes:
        return False
    here = config.cold_folders(root, [])
    shipped = _with_url((root / CONFIG).read_bytes(), "") is not None
    return shipped and here == [Path(config.DEFAULT_ROOT).expanduser()]


def _with_url(text: bytes, url: str) -> bytes | None:
    """The text of .dvc/config with the shipped url replaced; None where it does not have it."""
    pattern = rb"(?m)^(\s*url\s*=\s*)" + re.escape(config.DEFAULT_ROOT.encode()) + rb"[ \t]*$"
    changed, count = re.subn(pattern, lambda match: match[1] + url.encode(), text)
    return changed if count == 1 else None


def settle(root: Path, line: Line, url: str) -> None:
    """Write the line's own folder into .dvc/config, and commit that and nothing else.

    Raises StateError where .dvc/config has changes of the user's own, or no branch is checked out.
    """
    git, path = line.git, root / CONFIG
    branch, tip = require_tip(line), git.resolve("HEAD")
    sealed = git.show("HEAD", CONFIG)
    if sealed != path.read_bytes() and _with_url(sealed or b"", "") is None:
        raise StateError(
            f"{CONFIG} has uncommitted changes: commit them, then run the same command again; nothing was changed."
        )
    wanted = _with_url(sealed or b"", url)
    if wanted is None:
        raise StateError(f"{CONFIG} is not committed: commit it, then run the same command again.")
    with files.replacing(path) as temporary:
        temporary.write_bytes(wanted)
    tree = git.tree_with([CONFIG])
    commit = git.commit_tree(tree, tip or [], f"Cold storage of this line: {url}\n")
    git.update([Update(branch, commit, tip or "")], "luna: a folder of its own in cold storage")
    git.refresh_index([CONFIG])
    config.forget()
