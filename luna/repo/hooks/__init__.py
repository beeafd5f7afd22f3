"""Installs Luna's git hooks, which also run DVC's hooks and the user's own.

They lie in this repository's own folder, whatever 'core.hooksPath' says: a folder that a person has set for all
repositories is never written to. Its hooks are still run, after Luna's (see the script ``run``).
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from luna.errors import StateError
from luna.repo.git import Git

_SCRIPTS = Path(__file__).parent
ENVIRONMENT = "luna.environment"  # git config: the folder of the dvc that hooks call where none is in the PATH
_BEFORE_HERE = (
    "luna.hooksBefore"  # git config: the hooks folder that this repository itself was set to
)

#: The checks beside this file; they start no Python.
HOOKS = ("reference-transaction", "pre-commit", "pre-push", "post-checkout")
_DVC = ("post-checkout", "pre-commit", "pre-push")
#: Those of git that a person may have in a folder for all repositories; a server's are not among them.
_GIT = (
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-rewrite",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "prepare-commit-msg",
    "push-to-checkout",
    "reference-transaction",
    "sendemail-validate",
)
_BEFORE = ".before-luna"
_IN_FRONT = ".legacy"  # what the tool 'pre-commit' renames a hook to that it runs itself
_RUN = "run"
_MARK = "# Installed by 'luna init'"


def hooks_folder(git: Git) -> Path:
    """This repository's own, which all its work trees share; git uses it unless 'core.hooksPath' is set."""
    return git.common_dir / "hooks"


def _absolute(git: Git, path: str) -> Path:
    return git.root / Path(path).expanduser()


def _in_force(git: Git) -> bool:
    """Whether git runs the hooks of ``hooks_folder``."""
    used = _absolute(git, git.text("rev-parse", "--git-path", "hooks"))
    return used.resolve() == hooks_folder(git).resolve()


def _paths_set(git: Git) -> dict[str, str]:
    """What 'core.hooksPath' is set to, by scope (system, global, local, worktree, command); the last of them counts."""
    out = git.run(
        "config", "-z", "--show-scope", "--type=path", "--get-all", "core.hooksPath", check=False
    )
    words = os.fsdecode(out).split("\0")[:-1]
    return dict(zip(words[::2], words[1::2], strict=True))


def before(git: Git) -> str | None:
    """The hooks folder that git would use without Luna's: this repository's former one, or the one for all repositories."""
    paths, own = _paths_set(git), hooks_folder(git).resolve()
    wanted = (
        paths.get("local"),
        git.text("config", "--type=path", "--get", _BEFORE_HERE, check=False) or None,
        paths.get("global"),
        paths.get("system"),
    )
    return next((path for path in wanted if path and _absolute(git, path).resolve() != own), None)


def lacking_hooks(git: Git) -> list[str]:
    """Luna's hooks that git does not run in this clone, or runs in another version."""
    names = _names(git)
    if not _in_force(git):
        return names
    folder, chained = hooks_folder(git), before(git)
    scripts = _scripts()
    return [
        name
        for name in names
        if _bytes(_entry(folder, name)) != _stub(name, chained)
        or any(
            _bytes(folder / "luna" / script) != scripts[script]
            for script in (name, _RUN)
            if script in scripts
        )
    ]


def _names(git: Git) -> list[str]:
    """The hooks that this clone needs: Luna's, DVC's, and those that the person has elsewhere."""
    chained = before(git)
    others = [
        name for name in _GIT if chained and os.access(_absolute(git, chained) / name, os.X_OK)
    ]
    return list(dict.fromkeys((*HOOKS, *_DVC, *others)))


def _scripts() -> dict[str, bytes]:
    """Luna's own, with the line ends that sh needs, whatever git made of them in this clone."""
    return {name: (_SCRIPTS / name).read_bytes().replace(b"\r\n", b"\n") for name in (*HOOKS, _RUN)}


def _stub(name: str, chained: str | None) -> bytes:
    folder = shlex.quote(Path(chained).as_posix() if chained else "")
    text = (
        f"#!/bin/sh\n{_MARK}: Luna's check, DVC's hook, then those that were here before.\n"
        f'exec "${{0%/*}}/luna/{_RUN}" {name} {folder} "$@"\n'
    )
    return text.encode("utf-8", "surrogateescape")


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _entry(folder: Path, name: str) -> Path:
    """Where Luna's entry of a hook lies: behind the tool 'pre-commit' where that was installed later."""
    behind = folder / (name + _IN_FRONT)
    return behind if _is_luna(behind) else folder / name


def _is_luna(hook: Path) -> bool:
    return _MARK.encode() in (_bytes(hook) or b"")


def _is_dvc(hook: Path, name: str) -> bool:
    """Whether it is the file that 'dvc install' writes."""
    return (_bytes(hook) or b"").split(b"\n", 1)[
        -1
    ].strip() == f"exec dvc git-hook {name} $@".encode()


def install_hooks(git: Git) -> list[str]:
    """Put the hooks in, in front of those that are there. Returns the names of those put in.

    Raises:
        StateError: git is set to another folder in a way that this repository's configuration cannot overrule.
    """
    lacking = lacking_hooks(git)
    if not lacking:
        return []
    folder = hooks_folder(git)
    paths = _paths_set(git)
    if overruling := next((scope for scope in ("worktree", "command") if scope in paths), None):
        raise StateError(
            f"core.hooksPath is '{paths[overruling]}' by git's configuration of this {overruling}: unset it there, then run 'luna init'; nothing was changed."
        )
    chained = before(git)
    if not _in_force(git):
        if chained and chained == paths.get("local"):
            git.run("config", _BEFORE_HERE, chained)
        inside = folder.parent == git.root / ".git"  # then the clone may be moved
        git.run("config", "core.hooksPath", ".git/hooks" if inside else str(folder))
    (folder / "luna").mkdir(parents=True, exist_ok=True)
    for name, script in _scripts().items():
        _write(folder / "luna" / name, script)
    for name in lacking:
        entry, former = _entry(folder, name), folder / (name + _BEFORE)
        if entry.exists() and not _is_luna(entry) and not _is_dvc(entry, name):
            entry.replace(former)
        if _is_dvc(former, name):
            former.unlink()
        _write(entry, _stub(name, chained))
    return lacking


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)


def clean_up_command(git: Git) -> str | None:
    """The command that takes out what an older 'luna init' put into a hooks folder of all repositories; None where there is nothing."""
    chained = before(git)
    folder = _absolute(git, chained) if chained else None
    if folder is None or folder.is_relative_to(git.root):
        return None
    ours = [name for name in _GIT if _is_luna(folder / name)]
    if not ours:
        return None
    gone, back = ["luna"], []
    for name in ours:
        former = folder / (name + _BEFORE)
        if former.exists() and not _is_dvc(former, name):
            back.append(f"mv {former.name} {name}")
        else:
            gone += [name, *([former.name] if former.exists() else [])]
    return " && ".join([f"cd {shlex.quote(str(folder))}", f"rm -r {' '.join(gone)}", *back])
