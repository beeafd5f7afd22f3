"""Copies of a clone with all that lies beside it, and commands run in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


def run(repo: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=repo, env=environment(), capture_output=True, text=True)


def must(repo: Path, *command: str) -> str:
    done = run(repo, *command)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return done.stdout


def copy(repo: Path, to: Path) -> Path:
    """The clone and all that lies beside it: cold storage, and a shared git repository where there is one."""
    shutil.copytree(repo.parent, to, symlinks=True)
    other = to / repo.name
    must(other, "dvc", "remote", "modify", "--local", "cold", "url", str(to / "cold"))
    must(other, "dvc", "remote", "add", "--force", "--local", "second", str(to / "second"))
    if (to / "origin.git").is_dir():
        must(other, "git", "remote", "set-url", "origin", str(to / "origin.git"))
    return other
