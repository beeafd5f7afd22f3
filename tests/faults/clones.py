"""Copies of a clone with all that lies beside it, and commands run in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def environment() -> dict[str, str]:
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
    }


def run(repo: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """``more``: variables of the environment."""
    return subprocess.run(
        command, cwd=repo, env=environment() | more, capture_output=True, text=True
    )


def must(repo: Path, *command: str, **more: str) -> str:
    done = run(repo, *command, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return done.stdout


def edit(repo: Path, pattern: str, new: str | Callable[[re.Match[str]], str]) -> None:
    """The one place in params.yaml that the pattern fits."""
    path = repo / "params.yaml"
    text, count = re.subn(pattern, new, path.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{pattern} is {count} times in {path}")
    path.write_text(text, encoding="utf-8")


def keep(repo: Path, rule: str) -> None:
    """Set ``cold.keep``, committed."""
    edit(repo, "keep: [a-z:0-9]+", f"keep: {rule}")
    if must(repo, "git", "status", "--porcelain", "params.yaml"):
        must(repo, "git", "commit", "--quiet", "--no-verify", "-am", f"keep {rule}")


def thin(repo: Path) -> None:
    """Leave nothing but the head's GGUF in cold storage."""
    keep(repo, "head")
    must(repo, "luna", "thin")


def copy(repo: Path, to: Path) -> Path:
    """The clone and all that lies beside it: cold storage, and a shared git repository where there is one."""
    shutil.copytree(repo.parent, to, symlinks=True)
    other = to / repo.name
    must(other, "dvc", "remote", "modify", "--local", "cold", "url", str(to / "cold"))
    must(other, "dvc", "remote", "add", "--force", "--local", "second", str(to / "second"))
    if (to / "origin.git").is_dir():
        must(other, "git", "remote", "set-url", "origin", str(to / "origin.git"))
    return other
