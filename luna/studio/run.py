"""`luna studio`: the page and its server on one port of this machine, until the process is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import webbrowser
from collections.abc import Callable
from pathlib import Path

from luna import artifacts, files
from luna.sharing import serve
from luna.sharing.server import app
from luna.sharing.server.gate import LOOPBACK, Rules
from luna.sharing.server.servers import Servers, Settings
from luna.studio import pages
from luna.studio.jobs import Jobs
from luna.studio.routes import Studio
from luna.studio.uploads import Uploads

PORT = 8010
_TOKEN_BYTES = 24
_DOOR = artifacts.SCRATCH / "studio.html"


def studio(root: Path, prefix: str, port: int, opens: bool, started: Callable[[str], None]) -> None:
    """Serve the page until stopped; ``started`` gets its address, which has the token in it.

    Raises StateError where the port cannot be used, or llama.cpp's server is not set up.
    """
    listener = serve.listen(LOOPBACK[0], port)
    address = f"http://{LOOPBACK[0]}:{listener.getsockname()[1]}/"
    token = secrets.token_urlsafe(_TOKEN_BYTES)

    async def run() -> None:
        settings = Settings()
        with contextlib.closing(Uploads(root)) as uploads:
            async with Servers(root, prefix, settings, patient=True) as servers, Jobs(root) as jobs:
                rules = Rules(
                    token,
                    called="token",
                    open=pages.OPEN,
                    no_origin=f"open the page by the address that 'luna studio' printed, {address}",
                    no_key="open the page by the whole address that 'luna studio' printed",
                )
                routes = Studio(root, prefix, servers, jobs, uploads).routes()
                application = app.make(servers, rules, [*pages.routes(), *routes])
                started(f"{address}#token={token}")
                if opens:
                    _open(root / _DOOR, f"{address}#token={token}")
                await serve.answer(application, listener)

    try:
        asyncio.run(run())
    finally:
        listener.close()
        (root / _DOOR).unlink(missing_ok=True)


def _open(door: Path, address: str) -> None:
    """Open the page by a file that only its owner can read: other users of the machine can read a program's arguments."""
    with files.replacing(door, 0o600) as path:
        path.write_text(
            f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={address}"><title>Luna</title>\n',
            encoding="utf-8",
        )
    webbrowser.open(door.as_uri())
