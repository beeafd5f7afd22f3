"""Checks what `luna init` sets up, and git settings that would break a promise."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from luna import names, params
from luna.doctor.check import BAD, GOOD, WARNING, Check
from luna.errors import LunaError
from luna.history import known, record, tip
from luna.history.line import read_line
from luna.history.shared import fetch_refspecs
from luna.operations import init
from luna.repo import hooks, signing, supported
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
            f"missing or changed: {', '.join(lacking)}; so nothing stops a mistake here",
            "luna init",
        )
        if lacking
        else Check("git hooks", GOOD, "present: history is guarded")
    )
    if command := hooks.clean_up_command(git):
        yield Check(
            "hooks elsewhere",
            WARNING,
            f"hooks of an older 'luna init' are in {hooks.before(git)}, where they run for other repositories too",
            command,
        )
    if why := supported.unsupported(git):
        yield Check("repository", BAD, *why.rsplit(": ", 1))
    known: dict[str, list[str]] = {path: [] for path in git.text("remote").splitlines()}
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
            f"from {', '.join(loose)} a fetch may miss moves of the head, or accept a changed generation",
            "luna init",
        )
    elif known:
        yield Check("fetching", GOOD, "follows the head and refuses a changed generation")
    yield from _sealing(git)
    yield (
        Check(
            "line ends",
            WARNING,
            "git changes line ends of files that are known by their hash (core.autocrlf)",
            "luna init",
        )
        if init.alters_line_ends(git) or init.line_ends_altered(git)
        else Check("line ends", GOOD, "git changes none")
    )
    yield _record(git)
    yield from _history(root, prefix)


def _history(root: Path, prefix: str) -> Iterator[Check]:
    """What this clone knows of the line beside its tags, and where it stands on it."""
    line = read_line(root, prefix)
    doubts = known.doubts(line)
    for doubt in doubts:
        yield Check("history", BAD if doubt.stops else WARNING, doubt.what, doubt.remedy)
    if not doubts:
        yield Check("history", GOOD, f"the tags know all {len(line.sealed)} generations")
    if (at := tip.where(line)).remedy:
        yield Check("checked out", WARNING, f"{at.position}: nothing can be built here", at.remedy)


def _sealing(git: Git) -> Iterator[Check]:
    """Who seals, and whether seals can be signed where they are to be."""
    try:
        git.require_identity()
    except LunaError as error:
        yield Check("identity", BAD, "git does not know who seals", str(error).partition(": ")[2])
        return
    who = git.committer().rpartition("> ")[0] + ">"
    signed = signing.signs_tags(git) or signing.signs_commits(git)
    try:
        signing.require_able(git)
        how = f"signed by {signing.method(git)}" if signed else "not signed"
        yield Check("identity", GOOD, f"{who}, seals are {how}")
    except LunaError as error:
        yield Check("signing", BAD, str(error), "see 'git config user.signingKey'")


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
            "this clone has none, so a moved tag would not be noticed",
            "luna repair",
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
        done = subprocess.run(
            ["crontab", "-l"], capture_output=True, encoding="utf-8", errors="replace"
        )
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
    warned = False
    for name, text in places.items():
        for line in text.splitlines():
            if (
                not line.lstrip().startswith("#")
                and (match := _GC.search(line))
                and not _SAFE_GC.search(match[0])
            ):
                warned = True
                yield Check(
                    "dvc gc",
                    BAD,
                    f"{name} runs '{match[0].strip()}', which deletes every other generation",
                    "remove it there: only 'luna gc' keeps what a generation needs",
                )
    if not warned:
        yield Check("dvc gc", GOOD, "no script here runs it in a form that deletes generations")
