"""The project's own files, for benches and tests that make a repository of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from luna import params

SOURCE = Path(__file__).resolve().parents[1]


def names(without: tuple[str, ...] = ()) -> list[str]:
    """Files as they are now, tracked or new but not ignored, less those in the folders ``without`` ("tests/")."""
    listed = subprocess.run(
        ["git", "-C", str(SOURCE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
        text=True,
    )
    return [
        name
        for name in filter(None, listed.stdout.split("\0"))
        if (SOURCE / name).is_file() and not name.startswith(without)
    ]


def copy(to: Path, without: tuple[str, ...] = ()) -> None:
    for name in names(without):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / name, to / name)


def settings(texts: Iterable[str]) -> dict[str, Any]:
    """What SECTION.KEY=VALUE of a command line means, by SECTION.KEY."""
    given = {}
    for text in texts:
        key, _, value = text.partition("=")
        given[key] = yaml.safe_load(value)
    return given


def set_parameters(repo: Path, given: Mapping[str, Any]) -> None:
    """Write values by SECTION.KEY into a repository's params.yaml."""
    changes: dict[str, dict[str, Any]] = {}
    for key, value in given.items():
        section, name = key.split(".")
        changes.setdefault(section, {})[name] = value
    params.write(repo, changes)


def beginning(cold: Path) -> tuple[tuple[str, ...], ...]:
    """The commands, in order, that make a copy of the project a repository with the cold storage ``cold``."""
    return (
        ("git", "init", "-q", "-b", "main"),
        ("git", "config", "user.name", "Bench"),
        ("git", "config", "user.email", "bench@example.com"),
        ("git", "config", "commit.gpgsign", "false"),  # whatever the person's own settings are
        ("git", "add", "-A"),
        ("git", "commit", "-q", "--no-verify", "-m", "Luna"),
        ("dvc", "remote", "add", "--local", "--default", "cold", str(cold)),
        ("luna", "init"),
    )
