"""The log of an unexpected exception: what a person can send who reports it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from luna import __version__, artifacts, files
from luna.errors import LunaError
from luna.repo.git import Git

FOLDER = artifacts.SCRATCH / "errors"
_PACKAGES = (
    "dvc",
    "dvc-s3",
    "dvclive",
    "typer",
    "pydantic",
    "numpy",
    "torch",
    "transformers",
    "peft",
    "unsloth",
    "llama-cpp-python",
)
_SECRET = "--api-key"


def sentence(error: Exception) -> str:
    """Write the log, and return the sentence that says where it is."""
    try:
        path = _write(error)
    except OSError as trouble:
        return f"This is a fault of Luna's own; its log could not be written ({trouble})."
    return f"This is a fault of Luna's own. Traceback and versions are in {path}: send that file with your report."


def _write(error: Exception) -> Path:
    """Write the log to .luna/errors of the repository; outside of one, to the temporary folder."""
    try:
        folder = Git().root / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
    except (LunaError, OSError):
        folder = Path(tempfile.gettempdir())
    now = datetime.now(UTC)
    path = folder / f"luna-{now:%Y-%m-%dT%H-%M-%S-%f}.log"
    files.write_text(path, _text(error, now))
    return path


def _text(error: Exception, now: datetime) -> str:
    versions = [f"luna {__version__}", f"Python {sys.version}", platform.platform(), _git()]
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} is not installed")
    return "\n".join(
        [
            f"{now:%Y-%m-%dT%H:%M:%SZ}",
            f"command: luna {' '.join(_arguments(sys.argv[1:]))}",
            *versions,
            "",
            "".join(traceback.format_exception(error)),
        ]
    )


def _git() -> str:
    try:
        return Git().text("--version")
    except LunaError as trouble:
        return f"git: {trouble}"


def _arguments(given: list[str]) -> list[str]:
    """The arguments without a secret among them."""
    shown = []
    for before, argument in zip(["", *given], given, strict=False):
        if before == _SECRET:
            argument = "***"
        elif argument.startswith(f"{_SECRET}="):
            argument = f"{_SECRET}=***"
        shown.append(argument)
    return shown
