"""What this clone needs once: git hooks, refspecs that follow the head, and link types for the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from luna.errors import StateError
from luna.history.git import Git
from luna.names import head_tag

PUSH_REMOTE = "luna.pushRemote"  # git config: the git remote that 'luna seal' pushes to; unset: none


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
    hooks = Path(git.text("rev-parse", "--git-path", "hooks"))
    hooks = hooks if hooks.is_absolute() else git.root / hooks
    if not (hooks / "post-checkout").exists():
        result = subprocess.run([sys.executable, "-m", "dvc", "install"], cwd=git.root, capture_output=True, text=True)
        if result.returncode:
            raise StateError(f"'dvc install' failed: {(result.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        done.append("git hooks installed: 'git checkout TAG' brings the model's bytes back")
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
    return done
