"""Cold storage: set up, reachable, on another disk, and free of the traps of DVC's configuration."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from pathlib import Path

from luna.doctor.check import BAD, GOOD, WARNING, Check
from luna.errors import LunaError

_SECRETS = (
    "access_key_id",
    "secret_access_key",
    "session_token",
    "password",
    "sas_token",
    "connection_string",
    "account_key",
)


def _read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    return parser


def configuration(root: Path) -> Iterator[Check]:
    """Check DVC's configuration for settings that would break a promise."""
    shared, local = (_read(root / ".dvc" / name) for name in ("config", "config.local"))
    kind = local.get(
        "cache", "type", fallback=shared.get("cache", "type", fallback="reflink,copy")
    ).strip('"')
    kinds = [word.strip() for word in kind.split(",")]
    mend = "dvc config cache.type reflink,hardlink,copy"
    if kinds == ["copy"]:
        yield Check(
            "cache.type",
            WARNING,
            "copy: every checkout copies the whole model, and needs twice the space",
            mend,
        )
    elif kinds == ["reflink"]:
        yield Check(
            "cache.type",
            BAD,
            "reflink alone: where the file system cannot, DVC deletes the workspace's file",
            mend,
        )
    elif kinds[0] == "symlink":
        yield Check(
            "cache.type",
            WARNING,
            "symlink: a model in the workspace is the cache's own, and stages that follow links write into it",
            mend,
        )
    else:
        yield Check("cache.type", GOOD, kind)
    for section in shared.sections():
        leaked = [key for key in shared[section] if key in _SECRETS]
        if leaked:
            yield Check(
                "credentials",
                BAD,
                f"{leaked[0]} of {section} is in .dvc/config, which git keeps for ever",
                "move it to .dvc/config.local ('dvc remote modify --local'), and change the key",
            )
    for section in local.sections():
        if section.startswith("'remote") and not local.has_option(section, "url"):
            yield Check(
                "remote settings",
                WARNING,
                f"{section} in .dvc/config.local has no url: where an older generation is checked out, DVC does not know this remote and stops",
                "dvc remote modify --local NAME url URL",
            )
        if local.getboolean(section, "version_aware", fallback=False) or shared.getboolean(
            section, "version_aware", fallback=False
        ):
            yield Check(
                "remote settings",
                BAD,
                f"{section} is version_aware: DVC would rewrite dvc.lock after a push",
                "dvc remote modify --unset NAME version_aware",
            )
    for section in shared.sections():
        url = shared.get(section, "url", fallback="")
        if (
            section.startswith("'remote")
            and url
            and "://" not in url
            and not url.startswith(("/", "~"))
            and ":" not in url[:3]
        ):
            yield Check(
                "remote settings",
                WARNING,
                f"{section} has the relative path {url}: DVC resolves it otherwise at older generations",
                "give an absolute path",
            )


def reachable(root: Path) -> Iterator[Check]:
    """Check that cold storage answers and can be written."""
    from luna.storage import cold

    try:
        stores = cold.open_all(root)
    except LunaError as error:
        yield Check("cold storage", BAD, str(error), "dvc remote add --local --default cold PLACE")
        return
    for store in stores:
        name = f"cold storage '{store.name}'"
        try:
            with store.explained():
                there = store.odb.fs.exists(store.odb.path)
        except LunaError as error:
            yield Check(name, BAD, str(error), "make it answer")
            continue
        if store.odb.fs.protocol != "local":
            yield Check(name, GOOD, f"{store.odb.path} answers")
            yield from _object_lock(root, store.name)
            continue
        place = Path(store.odb.path)
        while not place.exists():
            place = place.parent
        same = place.stat().st_dev == root.stat().st_dev
        said = f"{store.odb.path}{'' if there else ' (empty yet)'}"
        yield (
            Check(
                name,
                WARNING,
                f"{said} is on the same disk as the workspace: one lost disk takes both",
                "put it on another disk, or to S3",
            )
            if same
            else Check(name, GOOD, said)
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
            "make such a bucket, 'dvc remote add' it, and 'luna archive --all'",
        )
