"""A stream for `git fast-import` that writes a whole history in one process.

See https://git-scm.com/docs/git-fast-import
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def into(repo: Path) -> Iterator[Stream]:
    """A stream that git takes in while it is written. Raises CalledProcessError when git does not."""
    process = subprocess.Popen(
        ["git", "-C", str(repo), "fast-import", "--quiet"], stdin=subprocess.PIPE
    )
    yield Stream(process.stdin)
    process.stdin.close()
    if code := process.wait():
        raise subprocess.CalledProcessError(code, "git fast-import")


@dataclass
class Stream:
    """Objects and tags, written in order. Blobs that grow are sent one after the other, so that git keeps only the differences."""

    out: BinaryIO
    mark: int = 0

    def blob(self, data: bytes) -> int:
        self.mark += 1
        self.out.write(b"blob\nmark :%d\ndata %d\n%s\n" % (self.mark, len(data), data))
        return self.mark

    def commit(self, branch: str, when: datetime, message: str, contents: Mapping[str, int]) -> int:
        self.mark += 1
        text = message.encode()
        rows = b"".join(
            b"M 100644 :%d %s\n" % (mark, path.encode()) for path, mark in contents.items()
        )
        self.out.write(
            b"commit %s\nmark :%d\ncommitter %s\ndata %d\n%s\n%s\n"
            % (branch.encode(), self.mark, _who(when), len(text), text, rows)
        )
        return self.mark

    def tag(self, name: str, commit: int, when: datetime, message: str) -> None:
        text = (message.rstrip() + "\n").encode()
        self.out.write(
            b"tag %s\nfrom :%d\ntagger %s\ndata %d\n%s\n"
            % (name.encode(), commit, _who(when), len(text), text)
        )


def _who(when: datetime) -> bytes:
    return b"Bench <bench@example.com> %d +0000" % when.timestamp()
