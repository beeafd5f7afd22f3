"""Checks versions, packages, the converter, and room for the next generation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from luna.doctor.check import BAD, GOOD, WARNING, Check
from luna.repo.git import Git

_LEAST_PYTHON = (3, 11)
_LEAST_GIT = (2, 30)
_WATCHED = (
    "dvc",
    "dvc-s3",
    "gto",
    "torch",
    "unsloth",
    "transformers",
    "trl",
    "peft",
    "llama-cpp-python",
    "gguf",
)


def versions(root: Path) -> Iterator[Check]:
    """Check the versions of Python, git and the packages."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield (
        Check("python", GOOD, python)
        if sys.version_info >= _LEAST_PYTHON
        else Check("python", BAD, f"{python} is too old", "install Python 3.11, then 'make setup'")
    )
    git_version = Git(root).text("version").split()[2]
    numbers = tuple(int(part) for part in git_version.split(".")[:2])
    yield (
        Check("git", GOOD, git_version)
        if numbers >= _LEAST_GIT
        else Check("git", BAD, f"{git_version} is too old", "install git 2.30 or later")
    )
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
    yield (
        Check("packages", WARNING, "; ".join(wrong), "make setup")
        if wrong
        else Check("packages", GOOD, f"{len(_WATCHED)} packages are as pinned")
    )


def _pins(root: Path) -> dict[str, str]:
    path = root / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {
        name.strip().lower(): value.partition(";")[0].strip()
        for name, mark, value in (line.partition("==") for line in lines)
        if mark
    }


def converter(root: Path) -> Iterator[Check]:
    """Check that llama.cpp's converter is set up."""
    from luna.errors import ExportError
    from luna.export import converter as llama

    try:
        llama.script()
        yield Check("converter", GOOD, f"llama.cpp's, from llama-cpp-python {llama.VERSION}")
    except ExportError as error:
        yield Check("converter", BAD, str(error), "make setup")


def preflight(root: Path) -> Iterator[Check]:
    """Whether disk and memory suffice for the next generation, by the estimate that 'luna new' refuses by."""
    from luna import params
    from luna.history.line import read_line
    from luna.operations import new
    from luna.operations import preflight as flight

    settings = params.load(root)
    needs = flight.look(
        root, settings, read_line(root, settings.line.prefix), new.conversations(root)
    )
    if needs.too_little:
        yield Check(
            "next generation",
            WARNING,
            needs.too_little,
            "free some, or change params.yaml; 'luna new' refuses until then",
        )
    else:
        yield Check("next generation", GOOD, needs.sentence.removeprefix("preflight: "))
