"""`luna init`: sets up this clone once: git hooks, refspecs and configuration."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from luna.errors import StateError
from luna.history import known, record, shared
from luna.history.line import read_line
from luna.history.shared import fetch_refspecs
from luna.names import head_tag
from luna.repo import hooks
from luna.repo.git import Git
from luna.repo.supported import require_supported

#: What 'dvc install' sets besides its hooks; where '.gitattributes' asks for it, it joins two files of DVC.
_MERGE_DRIVER = {
    "merge.dvc.name": "DVC merge driver",
    "merge.dvc.driver": "dvc git-hook merge-driver --ancestor %O --our %A --their %B",
}


def initialise(root: Path, prefix: str) -> list[str]:
    """Set this clone up; doing it again changes nothing. Returns what was done, a sentence each."""
    git = Git(root)
    require_supported(git)
    done = []
    if not (git.root / ".dvc").is_dir():
        raise StateError(
            f"{git.root} is no Luna repository: it has no .dvc folder; clone Luna first."
        )
    done += _keep_line_ends(git)
    if hooks.install_hooks(git):
        done += [
            "git hooks installed: 'git checkout TAG' also checks the model out",
            "git hooks installed: they refuse to move or delete a sealed tag and to alter a past ledger row",
        ]
        if former := hooks.before(git):
            done.append(f"the hooks in {former} are run after them")
    if command := hooks.clean_up_command(git):
        done.append(
            f"hooks of an older 'luna init' are in {hooks.before(git)}, where they run for other repositories too; to take them out: {command}"
        )
    for key, value in _MERGE_DRIVER.items():
        if git.config(key) != value:
            git.run("config", key, value)
    if not shutil.which("dvc", path=git.config(hooks.ENVIRONMENT) or ""):
        git.run("config", hooks.ENVIRONMENT, str(Path(sys.executable).parent))
    for remote in git.text("remote").splitlines():
        key = f"remote.{remote}.fetch"
        present = git.text("config", "--get-all", key, check=False).splitlines()
        wanted = fetch_refspecs(remote, prefix)
        if present != list(wanted):
            git.run("config", "--unset-all", key, check=False)
            for refspec in wanted:
                git.run("config", "--add", key, refspec)
            git.run(
                "config", f"remote.{remote}.tagOpt", "--no-tags"
            )  # the refspecs say which tags, and how
            done.append(
                f"fetching from {remote} follows {head_tag(prefix)} and refuses a changed generation"
            )
    done += _fetch_tags(
        git, prefix
    )  # the record alone would name tags whose objects it cannot all bring
    if git.text("remote") and not git.try_resolve(record.REF):
        record.ensure(git)
        if git.try_resolve(record.REF):
            done.append("the record of tags was fetched")
    return done


def _fetch_tags(git: Git, prefix: str) -> list[str]:
    """What a clone made with --no-tags lacks, from a remote that has each tag on just the commit that this history calls its seal."""
    line = read_line(git.root, prefix)
    for doubt in known.doubts(line):
        if doubt.kind is known.Kind.MISSING:
            commits = dict(zip(doubt.tags, doubt.commits, strict=True))
            for remote in git.text("remote").splitlines():
                if shared.has_tags(git, remote, commits):
                    shared.fetch_history(line, remote)
                    return [f"the tags of {len(commits)} generations were fetched from {remote}"]
    return []


def _keep_line_ends(git: Git) -> list[str]:
    """git changes no line end here, and what it changed before is put right, where that is all that differs.

    The ledger, dvc.lock and the conversations are known by the hash of their bytes; a hook with a carriage
    return does not start.
    """
    done, turned = [], alters_line_ends(git)
    if turned:
        git.run("config", "core.autocrlf", "false")
        done.append(
            "core.autocrlf is off in this clone: files that are known by their hash keep their line ends"
        )
    same, edited = _other_line_ends(git)
    altered = same + (edited if turned else [])  # else they may be a person's choice
    for path in altered:
        (git.root / path).write_bytes(_with_lf(git.root / path))
    if altered:
        # git takes another length for another content until it has read the file.
        names = "".join(f"{path}\0" for path in same)
        git.run("update-index", "-z", "--stdin", stdin=os.fsencode(names))
        done.append(f"{len(altered)} files have the line ends again that they were committed with")
    return done


def _with_lf(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")


def alters_line_ends(git: Git) -> bool:
    """Whether git is set to change line ends here ('true' on reading and writing, 'input' on writing)."""
    return (git.config("core.autocrlf") or "false").lower() not in ("false", "no", "off", "0")


def line_ends_altered(git: Git) -> list[str]:
    """Tracked files that differ from what is staged by their line ends alone."""
    return _other_line_ends(git)[0]


def _other_line_ends(git: Git) -> tuple[list[str], list[str]]:
    """Tracked files that are staged with LF and have CRLF here: those that differ in nothing else, and those that were edited too."""
    rows = os.fsdecode(git.run("ls-files", "--eol", "-z")).split("\0")[:-1]
    paths = [
        path
        for facts, path in (row.split("\t", 1) for row in rows)
        if facts.split()[:2] == ["i/lf", "w/crlf"]
    ]
    staged = git.cat([f":{path}" for path in paths]) if paths else []
    same = [
        path
        for path, content in zip(paths, staged, strict=True)
        if _with_lf(git.root / path) == content
    ]
    return same, [path for path in paths if path not in same]
