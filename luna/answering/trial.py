"""Tries in a child process whether a GGUF file loads, since llama.cpp aborts on some headers.

A header with an absurd count makes llama.cpp abort, divide by zero or take all memory, in C++, where no Python
can catch it. The child loads the file and evaluates one token; what ends it ends nothing else.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from luna.errors import ExportError

MAX_SECONDS = 600.0  # a large file from a slow disk takes minutes
_QUIET = {"GGML_NO_BACKTRACE": "1"}  # else ggml starts a debugger on the dying process
_HOME = Path(__file__).resolve().parents[2]


def require_loadable(path: Path, max_seconds: float = MAX_SECONDS) -> None:
    """Raises ExportError when llama.cpp cannot load the file and evaluate one token of it, or dies of it."""
    known = os.pathsep.join(filter(None, [str(_HOME), os.environ.get("PYTHONPATH")]))
    env = os.environ | _QUIET | {"PYTHONPATH": known}
    # -P: nothing in the working directory is taken for a module.
    command = [sys.executable, "-P", "-m", __name__, str(path)]
    try:
        done = subprocess.run(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            timeout=max_seconds,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"llama.cpp did not load {path} within {max_seconds:g} s: it is refused."
        ) from None
    if done.returncode == ExportError.exit_code and done.stdout:
        raise ExportError(done.stdout.strip())
    if done.returncode:
        raise ExportError(
            f"llama.cpp crashes on {path}, so it is refused: its header is damaged or malicious; copy or export it again."
        )


def main(path: Path) -> None:
    """Load a GGUF and ask for one token; exits with the error's code where that fails."""
    from luna.answering.engine import Engine

    try:
        with Engine(path, parallel=1) as engine:
            engine.logits([0], 0)
    except ExportError as error:
        print(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    main(Path(sys.argv[1]))
