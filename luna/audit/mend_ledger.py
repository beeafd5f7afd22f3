"""Corrects altered rows of the ledger by a new commit that restores the sealed ones.

No seal and no commit is rewritten: what was altered stays to be seen there, and the correction's message names it.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from luna import artifacts, files, ledger
from luna.audit import ledgers
from luna.audit.workbench import Bench
from luna.repo import quarantine
from luna.repo.git import Update

_LEDGER, _LOCK = artifacts.LEDGER.as_posix(), artifacts.LOCK.as_posix()


def correct(bench: Bench) -> str | None:
    """None where the line's branch is not checked out: the correction is a commit on it."""
    git, newest = bench.git, bench.picture.newest
    branch = git.branch()
    if newest is None or branch is None or not git.is_ancestor(newest.commit, "HEAD"):
        return None
    if not bench.dry:
        true, tip = ledgers.true_text(bench.picture), git.resolve("HEAD")
        was, lock = git.cat([f"HEAD:{_LEDGER}", f"HEAD:{_LOCK}"])
        corrected = {_LEDGER: true.encode()}
        if lock is not None:
            corrected[_LOCK] = _following(lock, true.encode())
        commit = git.commit_tree(_tree(bench, corrected), tip, _message(was or b"", true))
        git.update([Update(branch, commit, tip)], "luna repair: the ledger is corrected")
        for path, before, now in (
            (_LEDGER, was, corrected[_LEDGER]),
            (_LOCK, lock, corrected.get(_LOCK)),
        ):
            _to_workspace(bench, path, before, now)
        git.run("reset", "--quiet", "HEAD", "--", *corrected)
    return "a correction was committed on the branch: the altered rows have their first sealed values again"


def _message(was: bytes, true: str) -> str:
    rows = ledger.differences(true, was.decode("utf-8", "replace"))
    return (
        f"Correct {_LEDGER}: its past rows as they were first sealed\n\nThe ledger of the commit before this one had been altered:\n"
        + "".join(f"- {row}\n" for row in rows)
    )


def _following(lock: bytes, text: bytes) -> bytes:
    """dvc.lock, naming this ledger, so that DVC does not take the correction for a change of the pipeline's output."""
    digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
    return re.sub(
        rb"(- path: lineage\.csv\n +hash: md5\n +md5: )[0-9a-f]{32}(\n +size: )\d+",
        rb"\g<1>" + digest.encode() + rb"\g<2>" + str(len(text)).encode(),
        lock,
    )


def _tree(bench: Bench, contents: dict[str, bytes]) -> str:
    """HEAD's tree with other contents of some files."""
    git = bench.git
    with tempfile.TemporaryDirectory() as scratch:
        env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        git.run("read-tree", "HEAD", env=env)
        for path, content in contents.items():
            blob = git.text("hash-object", "-w", "--stdin", stdin=content)
            git.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
        return git.text("write-tree", env=env)


def _to_workspace(bench: Bench, path: str, before: bytes | None, now: bytes | None) -> None:
    """A file that equals the commit's gets the new content. While a generation is built, its own results stay; the next step writes the ledger again."""
    target = bench.root / path
    here = target.read_bytes() if target.is_file() else None
    if now is None or here == now or (here != before and bench.building and path == _LOCK):
        return
    if here is not None:
        quarantine.copy(bench.root, target, path)
    with files.replacing(target) as temporary:
        temporary.write_bytes(now)
