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
_ENVIRONMENT = "luna.environment"  # git config: the folder of the dvc that hooks call where none is in the PATH

HOOKS = ("reference-transaction", "pre-commit", "pre-push")  # the scripts in hooks/ beside this file; they start no Python
_DVC_ALONE = ("post-checkout",)
_BEFORE = ".before-luna"
_MARK = "# Installed by 'luna init'"
_BEGIN = """#!/bin/sh
{mark}: {what}
here=$(dirname "$0")
command -v dvc >/dev/null || PATH=$PATH:$(git config {environment} || echo /usr/bin)  # also where the environment is not active
"""
_DISPATCH = """[ -x "$here/{name}{before}" ] || exec "$here/luna/{name}" "$@"
input=$(cat)
printf '%s\\n' "$input" | "$here/luna/{name}" "$@" || exit $?
printf '%s\\n' "$input" | "$here/{name}{before}" "$@"
"""
_PASS_ON = """[ ! -x "$here/{name}{before}" ] || exec "$here/{name}{before}" "$@"
"""


def hooks_folder(git: Git) -> Path:
    path = Path(git.text("rev-parse", "--git-path", "hooks"))
    return path if path.is_absolute() else git.root / path


def lacking_hooks(git: Git) -> list[str]:
    """Luna's hooks that this clone does not have, or has in another version."""
    folder = hooks_folder(git)
    lacking = []
    for name in (*HOOKS, *_DVC_ALONE):
        own = folder / "luna" / name
        same = (folder / (name + _BEFORE)).exists() if name in _DVC_ALONE else own.is_file() and own.read_bytes() == (_OWN_HOOKS / name).read_bytes()
        if not same or _text(folder / name) != _dispatch(name):
            lacking.append(name)
    return lacking


def _text(hook: Path) -> str:
    return hook.read_text(encoding="utf-8", errors="replace") if hook.is_file() else ""


def _dispatch(name: str) -> str:
    what, rest = ("DVC's hook, or whichever was here before.", _PASS_ON) if name in _DVC_ALONE else ("Luna's check, then the hook that was here before it, if there was one.", _DISPATCH)
    return _BEGIN.format(mark=_MARK, what=what, environment=_ENVIRONMENT) + rest.format(name=name, before=_BEFORE)


def install_hooks(git: Git) -> list[str]:
    """Put Luna's hooks in, in front of those that are there (DVC's, or one's own). Returns the names of those put in."""
    folder = hooks_folder(git)
    lacking = lacking_hooks(git)
    for name in lacking:
        entry = folder / name
        if entry.exists() and _MARK not in _text(entry):
            entry.replace(folder / (name + _BEFORE))
        if name in HOOKS:
            (folder / "luna").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_OWN_HOOKS / name, folder / "luna" / name)
            (folder / "luna" / name).chmod(0o755)
        entry.write_text(_dispatch(name), encoding="utf-8", newline="\n")
        entry.chmod(0o755)
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
    if not shutil.which("dvc", path=git.config(_ENVIRONMENT) or ""):
        git.run("config", _ENVIRONMENT, str(Path(sys.executable).parent))
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
