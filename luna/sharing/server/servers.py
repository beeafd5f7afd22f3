"""The llama-servers by generation: started, freed, restarted; the head is followed."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from luna import artifacts
from luna.errors import InputError, LunaError, StateError, UnknownGeneration
from luna.history.line import artifact, read_line, sealed_params
from luna.names import head_tag, is_head
from luna.repo.git import Git
from luna.sharing import models
from luna.sharing.server import llama_server
from luna.sharing.server.llama_server import LlamaServer, Window
from luna.sharing.server.prompts import Prompts

SECONDS_BETWEEN_LOOKS = 0.25  # at the head: a new best is promised within two seconds
SECONDS_AFTER_FAILURE = 1.0
SECONDS_IDLE = 300.0  # after which a server that nobody asks is freed, the head's excepted
SECONDS_FOR_ROOM = 60.0  # that a request waits until another generation is no longer asked


@dataclass(frozen=True)
class Settings:
    """``most`` generations are loaded at a time; ``context``: tokens of a conversation, None for the model's own window."""

    most: int = 3
    parallel: int = llama_server.PARALLEL
    context: int | None = None
    aliases: frozenset[str] = frozenset()  # other names of the current best


class NoAnswer(StateError):
    """A server died, and died again after it was started anew; or there is no room for another one."""


class Cells:
    """Tokens that fit into a server's memory together, given out in the order of asking.

    llama-server ends every answer under way when they run out, so that a request waits here until it fits.
    """

    def __init__(self, shape: Window) -> None:
        self._free, self._slots = shape.cells, shape.parallel
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """Wait for ``count`` tokens; they are free again afterwards."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (count, turn)
        self._waiting.append(waiter)
        self._give()
        try:
            await turn
            yield
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif turn.done():
                self._free, self._slots = self._free + count, self._slots + 1
            self._give()

    def _give(self) -> None:
        while self._waiting and self._slots and self._waiting[0][0] <= self._free:
            count, turn = self._waiting.popleft()
            self._free, self._slots = self._free - count, self._slots - 1
            if not turn.done():
                turn.set_result(None)


@dataclass
class Served:
    """A generation that is asked. ``users`` counts requests under way or waiting."""

    name: str
    users: int = 0
    used: float = field(default_factory=time.monotonic)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    server: LlamaServer | None = None
    prompts: Prompts | None = None
    shape: Window | None = None
    cells: Cells | None = None

    async def stop(self) -> None:
        """End its server; whoever asks may go on cutting prompts."""
        server, self.server = self.server, None
        if server:
            await server.stop()

    async def close(self) -> None:
        """End its server and free its vocabulary."""
        await self.stop()
        prompts, self.prompts = self.prompts, None
        if prompts:
            await asyncio.to_thread(prompts.close)


class Servers:
    """Use as an async context manager. Raises LunaError when the head cannot be served at the start; later the last good one stays.

    ``patient``: it also starts without a head, and follows it once there is one.
    """

    def __init__(self, root: Path, prefix: str, settings: Settings, patient: bool = False) -> None:
        self.root, self.prefix, self.settings = root, prefix, settings
        self._patient = patient
        self.head = ""
        self._served: dict[str, Served] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="luna-")
        self._freed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Servers:
        try:
            llama_server.program()
            for alias in sorted(self.settings.aliases):
                with contextlib.suppress(UnknownGeneration):
                    raise InputError(
                        f"'{alias}' means {await self._resolve(alias)}: give another name with --alias."
                    )
            if not self._patient:
                self.head = await self._resolve("HEAD")
                async with self.taken(self.head):
                    pass
        except BaseException:
            await self._end()
            raise
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _end(self) -> None:
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await asyncio.gather(*(served.close() for served in self._served.values()))
        self._folder.cleanup()

    async def names(self) -> list[str]:
        """What can be asked for: the head's alias first, then each generation."""
        line = await asyncio.to_thread(read_line, self.root, self.prefix)
        return [head_tag(self.prefix), *sorted(self.settings.aliases), *line.names]

    async def full_name(self, reference: str) -> str:
        """The generation that is meant, by any spelling. Raises InputError when there is none."""
        if is_head(reference) or reference == head_tag(self.prefix):
            return self.head or await self._resolve("HEAD")
        if reference in self.settings.aliases:
            return self.head
        return reference if reference in self._served else await self._resolve(reference)

    async def _resolve(self, reference: str) -> str:
        return await asyncio.to_thread(models.resolve, self.root, self.prefix, reference)

    @contextlib.asynccontextmanager
    async def taken(self, name: str, beyond: bool = False) -> AsyncIterator[Served]:
        """The server of a generation, running; it stays while the block is in. ``beyond``: also where there is no room.

        Raises:
            ColdStorageError: its bytes are in no store.
            StateError: the server does not start, or there is no room for another generation.
        """
        served = self._served.setdefault(name, Served(name))
        served.users += 1
        try:
            await self._run(served, beyond)
            yield served
        finally:
            served.users -= 1
            served.used = time.monotonic()
            if not served.users:
                self._freed.set()
                if served.server is None and self._served.get(name) is served:
                    await self._free(served)

    async def revive(self, served: Served, dead: LlamaServer) -> None:
        """Start the server anew after ``dead`` did not answer; whoever asks next finds the new one. Raises as ``taken`` does."""
        async with served.starting:
            if served.server is dead:
                await served.stop()
        await self._run(served, beyond=True)

    async def _run(self, served: Served, beyond: bool) -> None:
        async with served.starting:
            if served.server and not served.server.alive:
                await served.stop()
            if served.server:
                return
            if not beyond and (served.name != self.head or self.settings.most == 1):
                await self._make_room(served)
            model = await asyncio.to_thread(artifact, self.root, served.name, artifacts.MODEL)
            if not served.prompts:
                system = await asyncio.to_thread(self._system, served.name)
                served.prompts = await asyncio.to_thread(Prompts, model, system)
                free = psutil.virtual_memory().available
                served.shape = llama_server.window(
                    served.prompts, self.settings.context, self.settings.parallel, free
                )
                served.cells = Cells(served.shape)
            assert served.shape  # made with the prompts
            folder = Path(self._folder.name)
            served.server = await llama_server.start(model, served.name, served.shape, folder)

    def _system(self, name: str) -> str:
        return sealed_params(Git(self.root), name).chat.system_prompt

    async def _make_room(self, served: Served) -> None:
        """Free the server that was not asked for longest; where all are busy, wait."""
        until = time.monotonic() + SECONDS_FOR_ROOM
        while True:
            loaded = [one for one in self._served.values() if one.server and one is not served]
            if len(loaded) < self.settings.most:
                return
            alone = (
                len(loaded) == 1
            )  # then the head makes room as well, and comes back when it is asked for
            idle = [one for one in loaded if not one.users and (alone or one.name != self.head)]
            if idle:
                await self._free(min(idle, key=lambda one: one.used))
                continue
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), until - time.monotonic())
            except TimeoutError:
                raise NoAnswer(
                    f"{self.settings.most} generations are busy: ask again in a moment, or let more be loaded "
                    "by 'luna serve --models'."
                ) from None

    async def _free(self, served: Served) -> None:
        self._served.pop(served.name, None)
        await served.close()

    def _marks_of_head(self) -> list[tuple[int, int, int]]:
        """What changes when the head's tag does: the files that git keeps it in."""
        marks = []
        for file in (f"refs/tags/{head_tag(self.prefix)}", "packed-refs"):
            with contextlib.suppress(OSError):
                state = (self._git_folder / file).stat()
                marks.append((state.st_ino, state.st_mtime_ns, state.st_size))
        return marks

    async def _watch(self) -> None:
        self._git_folder = await asyncio.to_thread(lambda: Git(self.root).common_dir)
        seen: list[tuple[int, int, int]] | None = None
        while True:
            marks = self._marks_of_head()
            try:
                if marks != seen:
                    name = await self._resolve("HEAD")
                    if name != self.head:
                        async with self.taken(name, beyond=True):
                            self.head = name
                    seen = marks
            except UnknownGeneration:
                seen = marks  # there is none yet
            except (LunaError, OSError):
                # The head is being moved, or its bytes cannot be had: the last good one answers.
                await asyncio.sleep(SECONDS_AFTER_FAILURE)
            long_ago = time.monotonic() - SECONDS_IDLE
            for served in list(self._served.values()):
                if served.server and not served.users and served.name != self.head:
                    old = served.used < long_ago
                    if (
                        old
                        or sum(1 for one in self._served.values() if one.server)
                        > self.settings.most
                    ):
                        await self._free(served)
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
