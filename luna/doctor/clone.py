"""What 'luna init' sets up, and git settings that would break a promise."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from luna import names, params
from luna.doctor.check import BAD, GOOD, WARNING, Check
from luna.errors import LunaError
from luna.history import record
from luna.history.shared import fetch_refspecs
from luna.repo import hooks
from luna.repo.git import Git

_GC = re.compile(r"\bdvc\s+(?:-\S+\s+)*gc\b[^\n#;&|]*")
_SAFE_GC = re.compile(r"(?:\s|^)(?:-\w*[TA]\w*|--all-tags|--all-commits)\b")


def setup(root: Path) -> Iterator[Check]:
    """Check params.yaml, git's hooks and refspecs, and the record."""
    git = Git(root)
    try:
        prefix = params.load(root).line.prefix
        yield Check("params.yaml", GOOD, "valid")
    except LunaError as error:
        yield Check("params.yaml", BAD, str(error), "correct the file")
        return
    lacking = hooks.lacking_hooks(git)
    yield (
        Check(
            "git hooks",
            WARNING,
            f"missing or not as they should be: {', '.join(lacking)}; nothing stops a slip here",
            "luna init",
        )
        if lacking
        else Check("git hooks", GOOD, "present: history is guarded")
    )
    known = {path: [] for path in git.text("remote").splitlines()}
    loose = [
        name
        for name in known
        if git.text("config", "--get-all", f"remote.{name}.fetch", check=False).splitlines()
        != list(fetch_refspecs(name, prefix))
    ]
    if loose:
        yield Check(
            "fetching",
            WARNING,
            f"from {', '.join(loose)} it may miss the head's moves, or take a changed generation",
            "luna init",
        )
    elif known:
        yield Check("fetching", GOOD, "follows the head and refuses a changed generation")
    if not git.config("user.name") or not git.config("user.email"):
        yield Check(
            "identity",
            BAD,
            "git does not know who seals",
            "git config user.name NAME; git config user.email ADDRESS",
        )
    else:
        yield Check(
            "identity",
            GOOD,
            f"{git.config('user.name')} <{git.config('user.email')}>, seals are {'signed by SSH' if git.signs else 'not signed'}",
        )
    if git.text("config", "--bool", "tag.gpgSign", check=False) == "true" and not git.signs:
        yield Check(
            "signing",
            WARNING,
            "tag.gpgSign is on, but seals are signed by SSH only",
            "git config gpg.format ssh; git config user.signingKey FILE",
        )
    if git.config("core.autocrlf") == "true":
        yield Check(
            "line ends",
            WARNING,
            "core.autocrlf turns the ledger's line ends, and hashes of files change with them",
            "git config core.autocrlf input",
        )
    yield _record(git)


def _record(git: Git) -> Check:
    try:
        entries = record.read(git)
    except LunaError as error:
        return Check("record of tags", BAD, str(error), "luna verify, then luna repair")
    tags = {
        tag.name: tag.object for tag in git.tags() if record.is_recorded(tag.name) and tag.annotated
    }
    if not entries and tags:
        return Check(
            "record of tags",
            WARNING,
            "this clone has none: a moved tag would not be noticed",
            "git fetch, or luna repair",
        )
    wrong = [entry.tag for entry in entries if tags.get(entry.tag) != entry.object]
    if wrong:
        return Check(
            "record of tags",
            BAD,
            f"{wrong[0]} is not what the record says",
            "luna verify, then luna repair",
        )
    sealed = sum(names.is_generation(entry.tag) for entry in entries)
    return Check("record of tags", GOOD, f"{len(entries)} tags, {sealed} generations")


def dangerous_gc(root: Path) -> Iterator[Check]:
    """'dvc gc' in a form that keeps the workspace's generation only, wherever a machine would run it."""
    places: dict[str, str] = {}
    try:
        done = subprocess.run(["crontab", "-l"], capture_output=True, text=True)
        places["crontab"] = done.stdout if done.returncode == 0 else ""
    except FileNotFoundError:
        pass
    candidates = [
        *root.glob("Makefile"),
        *root.glob("*.sh"),
        *root.glob("scripts/*"),
        *root.glob(".github/workflows/*"),
        *root.glob(".gitlab-ci.yml"),
        *hooks.hooks_folder(Git(root)).glob("*"),
        *Path("/etc").glob("cron*/*"),
        *Path("/etc").glob("crontab"),
    ]
    for path in candidates:
        if path.is_file() and path.suffix != ".sample":
            try:
                places[str(path)] = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
    found = False
    for name, text in places.items():
        for line in text.splitlines():
            if (
                not line.lstrip().startswith("#")
                and (match := _GC.search(line))
                and not _SAFE_GC.search(match[0])
            ):
                found = True
                yield Check(
                    "dvc gc",
                    BAD,
                    f"{name} runs '{match[0].strip()}', which deletes every other generation",
                    "take it out of there: only Luna's own way of freeing space keeps what a generation needs",
                )
    if not found:
        yield Check("dvc gc", GOOD, "nothing here runs it in a form that deletes generations")
