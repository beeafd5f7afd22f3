"""Luna commands as child processes: what they print is read, and none outlives the studio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luna import ending
from luna.errors import InputError, StateError

_LINES = 200  # of what a command says that are kept
_CHUNK_BYTES = 1 << 16
_SECONDS_TO_END = 60.0  # a step of training, or the writing of a file, may have to end first


class Failed(InputError):
    """A command did not do what was asked: its own sentence."""


@dataclass
class Job:
    """A command that runs, or has run. ``exit_code`` is None while it runs; ``document`` is what it printed in the end."""

    words: tuple[str, ...]
    process: asyncio.subprocess.Process
    began: float = field(default_factory=time.time)
    ended: float | None = None
    exit_code: int | None = None
    stopped: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    document: Any = None
    progress: dict[str, int] | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def sentence(self) -> str:
        """The last thing that it said, without the name before it."""
        return self.lines[-1].removeprefix("luna: ") if self.lines else ""

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "began": self.began,
            "ended": self.ended,
            "exit_code": self.exit_code,
            "stopped": self.stopped,
            "events": self.events,
            "lines": list(self.lines),
            "document": self.document,
            "progress": self.progress,
        }


class Jobs:
    """Use as an async context manager: at its end every command is ended.

    Of what is started and watched one of a kind (its first word) runs at a time; what is run to its end in one request is not counted.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._watched: dict[str, Job] = {}
        self._running: list[Job] = []
        self._readers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Jobs:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(self._end(job) for job in list(self._running)))
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def of(self, kind: str) -> Job | None:
        """The command of that kind that runs or ran last."""
        return self._watched.get(kind)

    async def start(self, *words: str) -> Job:
        """Start a command and read what it prints. Raises StateError where one of its kind runs."""
        running = self._watched.get(words[0])
        if running and running.exit_code is None:
            raise StateError(f"'luna {words[0]}' is running here already: wait for it, or stop it.")
        job = self._watched[words[0]] = await self._begin(words)
        return job

    async def _begin(self, words: tuple[str, ...]) -> Job:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "luna", *words),
            cwd=self._root,
            env=os.environ | {ending.WITH_INPUT: "1", "PYTHONUNBUFFERED": "1"},
            # It ends when its standard input does: also when this process is killed.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the studio, which then ends it
        )
        job = Job(words, process)
        self._running.append(job)
        task = asyncio.create_task(self._read(job))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)
        return job

    async def run(self, *words: str, well: tuple[int, ...] = (0,)) -> Any:
        """Run a command to its end, also when the asker goes, and give its document.

        Raises Failed with the command's own sentence where its exit code is not one of ``well``.
        """
        job = await self._begin(words)
        await job.done.wait()
        if job.exit_code not in well or job.document is None:
            raise Failed(job.sentence or f"'luna {words[0]}' ended with {job.exit_code}.")
        return job.document

    async def stop(self, kind: str) -> Job:
        """End a command as Ctrl-C does, and wait until it has ended. Raises StateError where none runs."""
        job = self._watched.get(kind)
        if job is None or job.exit_code is not None:
            raise StateError(f"No 'luna {kind}' is running here.")
        job.stopped = True
        await self._end(job)
        return job

    async def _end(self, job: Job) -> None:
        for tell in (job.process.terminate, job.process.kill):
            if job.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    tell()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(job.process.wait(), _SECONDS_TO_END)
        await job.done.wait()

    async def _read(self, job: Job) -> None:
        assert job.process.stdout and job.process.stderr  # pipes
        printed: list[bytes] = []

        async def out(stream: asyncio.StreamReader) -> None:
            async for line in _lines(stream):
                printed.append(line)
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict) and "event" in event:
                        job.events.append(event)

        async def complaints(stream: asyncio.StreamReader) -> None:
            async for line in _lines(stream):
                text = line.decode("utf-8", "replace").rstrip()
                try:
                    document = json.loads(text)
                except ValueError:
                    document = None
                if isinstance(document, dict) and document.get("event") == "progress":
                    job.progress = document
                elif text:
                    job.lines.append(text)

        await asyncio.gather(out(job.process.stdout), complaints(job.process.stderr))
        code = await job.process.wait()
        with contextlib.suppress(ValueError):
            job.document = json.loads(b"\n".join(printed))
        job.ended, job.exit_code = time.time(), code
        self._running.remove(job)
        job.done.set()


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Without their ends, however long they are."""
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest
