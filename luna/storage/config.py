"""DVC's configuration (system, global, repository, clone), read and written here alone.

It goes through DVC's own ``Config``, so that a setting counts here exactly as it counts for DVC.
Importing and reading it takes about 0.1 s: whoever must start fast does not ask.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from luna import files
from luna.errors import ColdStorageError

#: Where the shipped ``.dvc/config`` puts cold storage: each line gets a folder of its own below it.
DEFAULT_ROOT = "~/luna-cold-storage"
DEFAULT_REMOTE = "cold"
#: The levels of DVC's configuration that lie in a repository: git keeps the first, the second is this clone's.
REPOSITORY, CLONE = "repo", "local"


def _open(root: Path) -> Any:
    from dvc.config import Config
    from dvc.exceptions import DvcException

    try:
        return Config(str(root / ".dvc"))
    except DvcException as error:
        raise ColdStorageError(
            f"DVC's configuration is not valid ({_one_line(error)}): correct .dvc/config or "
            ".dvc/config.local, then run the same command again."
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def dvc_config(root: Path) -> Any:
    """DVC's own object, all levels merged. Raises ColdStorageError where a file is not valid."""
    return _open(root)


def level(root: Path, name: str) -> dict[str, Any]:
    """What one file alone says (``REPOSITORY`` or ``CLONE``), with DVC's sections all present."""
    return _open(root).read(name)


@functools.lru_cache(maxsize=8)
def cache_folder(root: Path) -> Path:
    """The cache folder (``cache.dir``), wherever it is set."""
    folder = _open(root)["cache"].get("dir")
    return Path(folder) if folder else root / ".dvc" / "cache"


def cache_kinds(root: Path) -> list[str]:
    """``cache.type``: how DVC links a file of the cache into the workspace, first choice first."""
    return list(_open(root)["cache"].get("type") or ["reflink", "copy"])


def default_remote(root: Path) -> str | None:
    """The name of DVC's default remote; None where there is none."""
    return _open(root)["core"].get("remote")


def remotes(root: Path) -> dict[str, dict[str, Any]]:
    """Every remote's settings by its name, paths made absolute."""
    return dict(_open(root)["remote"])


def is_folder(url: str) -> bool:
    """Whether the address is a folder of this machine."""
    return "://" not in url


def cold_folders(root: Path, names: list[str]) -> list[Path]:
    """The folders of the remotes ``names`` (none: the default remote); remotes that are no folder are left out."""
    config = _open(root)
    wanted = names or [config["core"].get("remote")]
    urls = [config["remote"].get(name, {}).get("url", "") for name in wanted if name]
    return [Path(url) for url in urls if url and is_folder(url)]


def relative_path_type() -> type:
    """What DVC makes of a relative path in a file that ``level`` read."""
    from dvc.config_schema import RelPath

    return RelPath


def forget() -> None:
    """What was read before does not count any more."""
    cache_folder.cache_clear()


def with_cache(root: Path, other: Path) -> None:
    """Let the clone ``other`` read this repository's cache and remotes: its own ``.dvc/config.local`` is written."""
    given = root / ".dvc" / "config.local"
    _write(
        other,
        given.read_bytes() if given.exists() else b"",
        {"cache": {"dir": str(cache_folder(root))}},
    )


def set_remote(root: Path, name: str, settings: dict[str, str], default: bool) -> None:
    """Write the complete remote into this clone's ``.dvc/config.local``: at an old tag DVC knows no other.

    The remote's old settings there are replaced. Raises ColdStorageError where DVC does not accept it.
    """
    path = root / ".dvc" / "config.local"
    before = path.read_bytes() if path.exists() else b""
    changes: dict[str, dict[str, str]] = {f'remote "{name}"': dict(settings)}
    if default:
        changes["core"] = {"remote": name}
    _write(root, before, changes)
    forget()
    try:
        _open(root)
    except ColdStorageError:
        with files.replacing(path) as temporary:
            temporary.write_bytes(before)
        raise


def _write(root: Path, text: bytes, changes: dict[str, dict[str, Any]]) -> None:
    """``text`` as this clone's file, with the changes in it. DVC itself writes ASCII alone, and fails at an umlaut."""
    from configobj import ConfigObj

    parsed = ConfigObj(text.decode("utf-8").splitlines(), encoding="utf-8")
    for section, values in changes.items():
        if section.startswith("remote "):
            parsed[section] = {}
        parsed.setdefault(section, {}).update(values)
    with files.replacing(root / ".dvc" / "config.local") as temporary, temporary.open("wb") as file:
        parsed.write(file)
