"""What this clone needs once: git hooks, refspecs that follow the head, and link types for the cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from luna.errors import StateError
from luna.history import record
from luna.history.git import Git
from luna.names import head_tag

_OWN_HOOKS = Path(__file__).parent / "hooks"
PUSH_REMOTE = "luna.pushRemote"  # git config: the git remote that 'luna seal' pushes to; unset: none


HOOKS = ("reference-transaction", "pre-commit", "pre-push")  # the scripts in hooks/ beside this file; they start no Python
_BEFORE = ".before-luna"
_DISPATCH = """#!/bin/sh
# Installed by 'luna init': Luna's check, then the hook that was here before it, if there was one.
here=$(dirname "$0")
[ -x "$here/{name}{before}" ] || exec "$here/luna/{name}" "$@"
input=$(cat)
printf '%s\\n' "$input" | "$here/luna/{name}" "$@" || exit $?
printf '%s\\n' "$input" | "$here/{name}{before}" "$@"
"""


def hooks_folder(git: Git) -> Path:
    path = Path(git.text("rev-parse", "--git-path", "hooks"))
    return path if path.is_absolute() else git.root / path


def lacking_hooks(git: Git) -> list[str]:
    """Luna's hooks that this clone does not have, or has in another version."""
    folder = hooks_folder(git)
    lacking = []
    for name in HOOKS:
        own, entry = folder / "luna" / name, folder / name
        same = own.is_file() and own.read_bytes() == (_OWN_HOOKS / name).read_bytes()
        if not same or not entry.is_file() or entry.read_text(encoding="utf-8", errors="replace") != _dispatch(name):
            lacking.append(name)
    return lacking


def _dispatch(name: str) -> str:
    return _DISPATCH.format(name=name, before=_BEFORE)


def install_hooks(git: Git) -> list[str]:
    """Put Luna's hooks in, in front of those that are there (DVC's, or one's own). Returns the names of those put in."""
    folder = hooks_folder(git)
    lacking = lacking_hooks(git)
    for name in lacking:
        (folder / "luna").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_OWN_HOOKS / name, folder / "luna" / name)
        entry = folder / name
        if entry.exists() and entry.read_text(encoding="utf-8", errors="replace") != _dispatch(name) and not (folder / (name + _BEFORE)).exists():
            entry.rename(folder / (name + _BEFORE))
        entry.write_text(_dispatch(name), encoding="utf-8", newline="\n")
        for path in (folder / "luna" / name, entry):
            path.chmod(0o755)
    return lacking


def fetch_refspecs(remote: str, prefix: str) -> tuple[str, ...]:
    """Branches and the head may move; a generation's tag or a record that changed is refused (no leading +)."""
    head = f"refs/tags/{head_tag(prefix)}"
    return f"+refs/heads/*:refs/remotes/{remote}/*", f"+{head}:{head}", "refs/tags/*:refs/tags/*", "refs/luna/*:refs/luna/*"


def initialise(root: Path, prefix: str) -> list[str]:
    """Set this clone up; doing it again changes nothing. Returns what was done, a sentence each."""
    git = Git(root)
    done = []
    if not (git.root / ".dvc").is_dir():
        raise StateError(f"{git.root} is no Luna repository: it has no .dvc folder; clone Luna first.")
    if not (hooks_folder(git) / "post-checkout").exists():
        result = subprocess.run([sys.executable, "-m", "dvc", "install"], cwd=git.root, capture_output=True, text=True)
        if result.returncode:
            raise StateError(f"'dvc install' failed: {(result.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        done.append("git hooks installed: 'git checkout TAG' brings the model's bytes back")
    if install_hooks(git):
        done.append("git hooks installed: a sealed tag is neither moved nor deleted, a past ledger row never altered")
    for remote in git.text("remote").splitlines():
        key = f"remote.{remote}.fetch"
        present = git.text("config", "--get-all", key, check=False).splitlines()
        wanted = fetch_refspecs(remote, prefix)
        if present != list(wanted):
            git.run("config", "--unset-all", key, check=False)
            for refspec in wanted:
                git.run("config", "--add", key, refspec)
            git.run("config", f"remote.{remote}.tagOpt", "--no-tags")  # the refspecs say which tags, and how
            done.append(f"fetching from {remote} follows {head_tag(prefix)} and refuses a changed generation")
    if git.text("remote") and not git.resolve(record.REF):
        record.ensure(git)
        if git.resolve(record.REF):
            done.append("the record of tags was fetched")
    return done
