"""Versions, packages, converter, disk space."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from luna import artifacts
from luna.doctor.check import BAD, GOOD, WARNING, Check
from luna.history import cache
from luna.history.git import Git

_LEAST_PYTHON = (3, 11)
_LEAST_GIT = (2, 30)
_WATCHED = ("dvc", "dvc-s3", "gto", "torch", "unsloth", "transformers", "trl", "peft", "llama-cpp-python", "gguf")
_GENERATIONS_TO_COME = 3  # free space is asked for as many more of the newest's size


def versions(root: Path) -> Iterator[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", GOOD, python) if sys.version_info >= _LEAST_PYTHON else Check("python", BAD, f"{python} is too old", "install Python 3.11, then 'make setup'")
    found = Git(root).text("version").split()[2]
    numbers = tuple(int(part) for part in found.split(".")[:2])
    yield Check("git", GOOD, found) if numbers >= _LEAST_GIT else Check("git", BAD, f"{found} is too old", "install git 2.30 or later")
    pinned = _pins(root)
    wrong = []
    for package in _WATCHED:
        try:
            here = version(package)
        except PackageNotFoundError:
            wrong.append(f"{package} is not installed")
            continue
        if package in pinned and here.partition("+")[0] != pinned[package]:
            wrong.append(f"{package} {here} is not the pinned {pinned[package]}")
    yield Check("packages", WARNING, "; ".join(wrong), "make setup") if wrong else Check("packages", GOOD, f"{len(_WATCHED)} packages are as pinned")


def _pins(root: Path) -> dict[str, str]:
    path = root / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name.strip().lower(): value.partition(";")[0].strip() for name, mark, value in (line.partition("==") for line in lines) if mark}


def converter(root: Path) -> Iterator[Check]:
    from luna.errors import ExportError
    from luna.export import converter as llama

    try:
        llama.script()
        yield Check("converter", GOOD, f"llama.cpp's, of llama-cpp-python {llama.VERSION}")
    except ExportError as error:
        yield Check("converter", BAD, str(error), "make setup")


def disk(root: Path) -> Iterator[Check]:
    model = root / artifacts.MODEL
    need = _GENERATIONS_TO_COME * (model.stat().st_size * 2 if model.is_file() else 1 << 30)  # the 16-bit file lies beside it while exporting
    for title, place in (("disk of the workspace", root), ("disk of the cache", cache.home(root))):
        there = place
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        said = f"{free / 1e9:.1f} GB free"
        yield Check(title, GOOD, said) if free > need else Check(title, WARNING, f"{said}: less than {_GENERATIONS_TO_COME} more generations need", "free some space")
