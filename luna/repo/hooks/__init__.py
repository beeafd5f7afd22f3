"""The git hooks of this clone: Luna's own scripts lie beside this file, in front of those that were there before."""

from __future__ import annotations

import shutil
from pathlib import Path

from luna.repo.git import Git

_OWN_HOOKS = Path(__file__).parent
ENVIRONMENT = "luna.environment"  # git config: the folder of the dvc that hooks call where none is in the PATH

HOOKS = (
    "reference-transaction",
    "pre-commit",
    "pre-push",
)  # the scripts beside this file; they start no Python
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
    """Where this repository's hooks lie."""
    path = Path(git.text("rev-parse", "--git-path", "hooks"))
    return path if path.is_absolute() else git.root / path


def lacking_hooks(git: Git) -> list[str]:
    """Luna's hooks that this clone does not have, or has in another version."""
    folder = hooks_folder(git)
    lacking = []
    for name in (*HOOKS, *_DVC_ALONE):
        own = folder / "luna" / name
        same = (
            (folder / (name + _BEFORE)).exists()
            if name in _DVC_ALONE
            else own.is_file() and own.read_bytes() == (_OWN_HOOKS / name).read_bytes()
        )
        if not same or _text(folder / name) != _dispatch(name):
            lacking.append(name)
    return lacking


def _text(hook: Path) -> str:
    return hook.read_text(encoding="utf-8", errors="replace") if hook.is_file() else ""


def _dispatch(name: str) -> str:
    what, rest = (
        ("DVC's hook, or whichever was here before.", _PASS_ON)
        if name in _DVC_ALONE
        else ("Luna's check, then the hook that was here before it, if there was one.", _DISPATCH)
    )
    return _BEGIN.format(mark=_MARK, what=what, environment=ENVIRONMENT) + rest.format(
        name=name, before=_BEFORE
    )


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
