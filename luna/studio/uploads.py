"""Files that are dropped on the page: bounded, streamed to the disk, removed when not needed."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from pathlib import Path, PurePosixPath

import psutil
from starlette.requests import Request

from luna import artifacts
from luna.errors import InputError
from luna.sharing.server.body import Refused
from luna.sharing.server.gate import error

MOST_BYTES = 2_000_000_000  # of a file: more than the largest export that anybody has shown
SECONDS_WITHOUT_A_BYTE = 60.0


class Uploads:
    """In a folder of the repository's scratch, which goes with the studio. One waits at a time: the newest."""

    def __init__(self, root: Path) -> None:
        scratch = root / artifacts.SCRATCH
        scratch.mkdir(exist_ok=True)
        for left in scratch.glob("studio-*-*"):  # by a studio that was killed
            process = left.name.split("-")[1]
            if process.isdigit() and not psutil.pid_exists(int(process)):
                shutil.rmtree(left, ignore_errors=True)
        self._folder = tempfile.TemporaryDirectory(prefix=f"studio-{os.getpid()}-", dir=scratch)
        self._waiting: dict[str, Path] = {}

    def close(self) -> None:
        """Remove what is left."""
        self._folder.cleanup()

    async def take(self, request: Request, name: str) -> str:
        """Write the body to a file of the name; gives the word by which it is asked for."""
        plain = PurePosixPath(name.replace("\\", "/")).name
        if not plain or plain in (".", "..") or "\0" in plain or len(plain.encode()) > 200:
            raise InputError(
                "The file has no name that can be used: rename it, then drop it again."
            )
        if int(request.headers.get("content-length", "0")) > MOST_BYTES:
            raise _too_large()
        word = secrets.token_hex(8)
        path = Path(self._folder.name) / word / plain
        path.parent.mkdir()
        try:
            await _write(request, path)
        except BaseException:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise
        for other in list(self._waiting):
            self.forget(other)
        self._waiting[word] = path
        return word

    def path(self, word: str) -> Path:
        """Where it is. Raises InputError where it is not any more."""
        if word not in self._waiting:
            raise InputError("That file is not here any more: drop it again.")
        return self._waiting[word]

    def forget(self, word: str) -> None:
        """Remove it, where it is still there."""
        path = self._waiting.pop(word, None)
        if path:
            shutil.rmtree(path.parent, ignore_errors=True)


def _too_large() -> Refused:
    sentence = (
        f"The file is larger than {MOST_BYTES:,} bytes: give it to 'luna import' in a terminal."
    )
    return Refused(error(413, sentence))


async def _write(request: Request, path: Path) -> None:
    size, parts = 0, aiter(request.stream())
    with path.open("wb") as file:
        while True:
            try:
                async with asyncio.timeout(SECONDS_WITHOUT_A_BYTE):
                    part = await anext(parts, None)
            except TimeoutError:
                raise Refused(
                    error(408, f"Nothing came for {SECONDS_WITHOUT_A_BYTE:.0f} s: drop it again.")
                ) from None
            if part is None:
                return
            size += len(part)
            if size > MOST_BYTES:
                raise _too_large()
            await asyncio.to_thread(file.write, part)
