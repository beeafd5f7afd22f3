"""`luna serve`: runs the web application on one port until the process is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from luna.errors import StateError
from luna.sharing import app
from luna.sharing.pool import Pool

_BACKLOG = 128  # connections that wait to be accepted


def serve(
    root: Path,
    prefix: str,
    generation: str,
    host: str,
    port: int,
    api_key: str | None,
    started: Callable[[str, int], None],
) -> None:
    """Listen on ``host`` and ``port`` (0: a free one) until stopped; ``generation`` is loaded first.

    ``started`` gets the current best's name and the port, once requests are taken.

    Raises:
        StateError: the port cannot be used.
        InputError: no such generation.
    """
    listener = _listen(host, port)
    pool = Pool(root, prefix)
    try:
        pool.release(pool.take(generation))
        started(pool.head, listener.getsockname()[1])
        config = uvicorn.Config(app.make(pool, api_key), log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        pool.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        raise StateError(
            f"Port {port} on {host} cannot be used ({error.strerror}): give another with --port."
        ) from None
    return listener
