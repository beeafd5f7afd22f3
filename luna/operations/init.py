"""luna init: what this clone needs once: git hooks, and refspecs that follow the head."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from luna.errors import StateError
from luna.history import known, record, shared
from luna.history.line import read_line
from luna.history.shared import fetch_refspecs
from luna.names import head_tag
from luna.repo.git import Git
from luna.repo.hooks import ENVIRONMENT, hooks_folder, install_hooks


def initialise(root: Path, prefix: str) -> list[str]:
    """Set this clone up; doing it again changes nothing. Returns what was done, a sentence each."""
    git = Git(root)
    done = []
    if not (git.root / ".dvc").is_dir():
        raise StateError(
            f"{git.root} is no Luna repository: it has no .dvc folder; clone Luna first."
        )
    if not (hooks_folder(git) / "post-checkout").exists():
        result = subprocess.run(
            [sys.executable, "-m", "dvc", "install"], cwd=git.root, capture_output=True, text=True
        )
        if result.returncode:
            raise StateError(
                f"'dvc install' failed: {(result.stderr.strip().splitlines() or ['no reason given'])[-1]}"
            )
        done.append("git hooks installed: 'git checkout TAG' brings the model's bytes back")
    if install_hooks(git):
        done.append(
            "git hooks installed: a sealed tag is neither moved nor deleted, a past ledger row never altered"
        )
    if not shutil.which("dvc", path=git.config(ENVIRONMENT) or ""):
        git.run("config", ENVIRONMENT, str(Path(sys.executable).parent))
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
    done += _fetch_tags(git, prefix)  # the record alone would tell of tags that it cannot all bring
    if git.text("remote") and not git.resolve(record.REF):
        record.ensure(git)
        if git.resolve(record.REF):
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
