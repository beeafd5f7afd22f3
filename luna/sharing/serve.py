"""`luna serve`: runs the web application on one port until the process is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from luna.errors import InputError, StateError
from luna.sharing.server import app
from luna.sharing.server.gate import LOOPBACK, Rules
from luna.sharing.server.servers import Servers, Settings

_BACKLOG = 1024  # connections that wait to be accepted
_SECONDS_TO_FINISH = 5  # for answers under way when the server is stopped


@dataclass(frozen=True)
class Address:
    """Where to listen, and who may ask. ``port`` 0: a free one."""

    host: str = LOOPBACK[0]
    port: int = 8000
    api_key: str | None = None
    hosts: tuple[str, ...] = ()  # further names by which a browser may call it
    origins: tuple[str, ...] = ()  # pages of other servers that may ask
    loopback: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loopback", self.host in LOOPBACK)
        if not self.loopback and not self.api_key:
            raise InputError(
                f"Others can reach {self.host}, so a key is needed: luna serve --host {self.host} --api-key KEY."
            )

    @property
    def rules(self) -> Rules:
        """Where only this machine can ask, a page could by its browser: its name is checked. Elsewhere the key does that."""
        return Rules(
            self.api_key, (*LOOPBACK, *self.hosts) if self.loopback else None, self.origins
        )


def serve(
    root: Path,
    prefix: str,
    generation: str,
    address: Address,
    settings: Settings,
    started: Callable[[str, int], None],
) -> None:
    """Listen until stopped; ``generation`` is loaded beside the current best first.

    ``started`` gets the current best's name and the port, once requests are taken.

    Raises:
        StateError: the port cannot be used, or llama.cpp's server is not set up.
        InputError: no such generation.
    """
    listener = listen(address.host, address.port)
    try:
        asyncio.run(_serve(root, prefix, generation, address, settings, started, listener))
    finally:
        listener.close()


async def _serve(
    root: Path,
    prefix: str,
    generation: str,
    address: Address,
    settings: Settings,
    started: Callable[[str, int], None],
    listener: socket.socket,
) -> None:
    async with Servers(root, prefix, settings) as servers:
        async with servers.taken(await servers.full_name(generation)):
            pass
        application = app.make(servers, address.rules)
        started(servers.head, listener.getsockname()[1])  # from here on who asks is heard
        await answer(application, listener)


async def answer(application: Starlette, listener: socket.socket) -> None:
    """Answer what comes in, until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        application,
        log_level="warning",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
    )
    await _Server(config).serve([listener])


class _Server(uvicorn.Server):
    """uvicorn's, which at its end leaves the servers to be stopped in order: it would interrupt this with the same signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Ctrl-C and SIGTERM end it."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """The port, taken. Raises StateError where it cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StateError(
            f"Port {port} on {host} cannot be used ({error.strerror}): give another with --port."
        ) from None
    return listener
