"""Checks cold storage: set up, reachable, on another disk, and safe in DVC's configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from luna.doctor.check import BAD, GOOD, WARNING, Check
from luna.errors import LunaError
from luna.history import stores
from luna.repo.git import Git
from luna.repo.settings import standing
from luna.storage import cold, config

_SECRETS = (
    "access_key_id",
    "secret_access_key",
    "session_token",
    "password",
    "sas_token",
    "connection_string",
    "account_key",
)


def configuration(root: Path) -> Iterator[Check]:
    """Check DVC's configuration for settings that would break a promise."""
    try:
        shared, local = config.level(root, config.REPOSITORY), config.level(root, config.CLONE)
        kinds = config.cache_kinds(root)
    except LunaError as error:
        yield Check("DVC's configuration", BAD, str(error), "correct the file")
        return
    mend = "dvc config cache.type reflink,hardlink,copy"
    if kinds == ["copy"]:
        yield Check(
            "cache.type",
            WARNING,
            "copy: every checkout copies the model and needs twice the space",
            mend,
        )
    elif kinds == ["reflink"]:
        yield Check(
            "cache.type",
            BAD,
            "reflink only: where the file system has no reflinks, DVC deletes the workspace's file",
            mend,
        )
    elif kinds[0] == "symlink":
        yield Check(
            "cache.type",
            WARNING,
            "symlink: a model in the workspace is the cache's own file, and a stage that follows the link writes into the cache",
            mend,
        )
    else:
        yield Check("cache.type", GOOD, ",".join(kinds))
    for name, settings in shared["remote"].items():
        if leaked := [key for key in settings if key in _SECRETS]:
            yield Check(
                "credentials",
                BAD,
                f"{leaked[0]} of the remote '{name}' is in .dvc/config, which git never forgets",
                "move it to .dvc/config.local ('dvc remote modify --local'), and change the key",
            )
        written = str(settings.get("url", ""))
        if isinstance(settings.get("url"), config.relative_path_type()):
            yield Check(
                "remote settings",
                WARNING,
                f"the remote '{name}' has a relative path ({written}): DVC resolves it differently at older generations",
                "luna cold PATH",
            )
    for name, settings in local["remote"].items():
        if "url" not in settings:
            yield Check(
                "remote settings",
                WARNING,
                f"the remote '{name}' in .dvc/config.local has no url: where an older generation is checked out, DVC does not know this remote and stops",
                "luna cold PATH",
            )
    for name, settings in config.remotes(root).items():
        if settings.get("version_aware"):
            yield Check(
                "remote settings",
                BAD,
                f"the remote '{name}' is version_aware: DVC would rewrite dvc.lock after a push",
                f"dvc remote modify --unset {name} version_aware",
            )


def reachable(root: Path) -> Iterator[Check]:
    """Check that cold storage answers and can be written."""
    git = Git(root)
    try:
        places = cold.open_all(root)
    except LunaError as error:
        yield Check("cold storage", BAD, str(error), "luna cold PATH")
        return
    for store in places:
        name = f"cold storage '{store.name}'"
        try:
            seen = stores.look(store, git)
            refusal = stores.refusal(seen, git)
        except LunaError as error:
            refusal = str(error)
        if refusal:
            yield Check(name, BAD, refusal, "see there")
            continue
        sentence = f"{store.address}: {stores.described(seen)}"
        if not store.is_local:
            yield Check(name, GOOD, sentence)
            yield from _object_lock(root, store.name)
            continue
        folder = Path(store.root)
        while not folder.exists():
            folder = folder.parent
        yield (
            Check(
                name,
                WARNING,
                f"{sentence}; it is on the same disk as the workspace: one lost disk takes both",
                "put it on another disk, or to S3",
            )
            if folder.stat().st_dev == root.stat().st_dev
            else Check(name, GOOD, sentence)
        )


def second_copy(root: Path) -> Iterator[Check]:
    """git lives in this clone: a remote that seals are pushed to, or a cold storage, must be able to bring it back."""
    from luna.history import backup, shared
    from luna.repo.git import Git
    from luna.storage import cold, packs

    git, name = Git(root), "second copy of git"
    if remote := shared.remote(git):
        yield Check(name, GOOD, f"seals are pushed to '{remote}'")
        return
    wanted = backup.references(git, standing(root).line.prefix)
    if not any(ref.startswith("refs/tags/") for ref in wanted):
        return  # nothing was sealed yet
    begun, stores = False, []
    with contextlib.suppress(LunaError):  # the check of the remotes reports what is wrong with them
        stores = cold.open_all(root)
    for store in stores:
        try:
            held = packs.held(store, root)
        except LunaError:
            continue  # reported above
        if held.issuperset(wanted.items()):
            yield Check(
                name, GOOD, f"the cold storage '{store.name}' can bring it back (luna recover)"
            )
            return
        begun = begun or bool(held)
    yield Check(
        name,
        WARNING,
        "the newest commits or tags are only in this clone"
        if begun
        else "commits, tags and conversations are only in this clone: if it is lost, they are lost too",
        "luna archive HEAD, or 'git config luna.pushRemote NAME' and 'luna seal'",
    )


def _object_lock(root: Path, remote: str) -> Iterator[Check]:
    from luna.storage.s3 import object_lock_warning

    try:
        warning = object_lock_warning(root, remote)
    except LunaError as error:
        warning = str(error)
    if warning:
        yield Check(
            "object lock",
            WARNING,
            warning,
            "make such a bucket, 'luna cold s3://BUCKET/FOLDER', and 'luna archive --all'",
        )
