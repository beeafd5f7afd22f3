"""Passes a request to a llama-server and its answer back; who hangs up frees the slot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from luna.sharing.server.servers import NoAnswer, Served, Servers

_KEPT = (b"content-type", b"content-length", b"retry-after")
_TRIES = 7
_FIRST_PAUSE = 0.05  # seconds; each pause is twice the one before
_EVENTS = "text/event-stream"


async def ask(
    servers: Servers, served: Served, method: str, path: str, body: dict[str, Any] | None
) -> aiohttp.ClientResponse:
    """The beginning of the answer. A server that died is started anew, once.

    Raises NoAnswer when it dies again, or does not answer though it runs.
    """
    anew = False
    for attempt in range(_TRIES):
        server = served.server
        if not server:
            break  # Luna is being stopped
        try:
            return await server.ask.request(method, f"{server.url}{path}", json=body)
        except aiohttp.ClientError:
            # It has died, or has closed the connection before it read anything, as it does now and then under load.
            if await server.ended(_FIRST_PAUSE * 2**attempt):
                if anew:
                    break
                anew = True
                await servers.revive(served, server)
    raise NoAnswer(
        f"The server of {served.name} did not answer, nor when it was started anew: ask again, or another generation."
    )


async def rendered(servers: Servers, served: Served, body: dict[str, Any]) -> str:
    """The prompt of a chat request as llama.cpp renders it. Raises Refusal with its own answer where it cannot."""
    answer = await ask(servers, served, "POST", "/apply-template", body)
    async with answer:
        content = await answer.read()
        if answer.status != 200:
            raise Refusal(answer.status, content)
    return json.loads(content)["prompt"]


class Refusal(Exception):
    """llama-server's own refusal: its status and its body, in OpenAI's form."""

    def __init__(self, status: int, content: bytes) -> None:
        super().__init__(status)
        self.status, self.content = status, content


class Passed(Response):
    """An answer on its way. ``held`` is let go when it has been sent, or ``gone`` is done: the asker has hung up."""

    def __init__(
        self, answer: aiohttp.ClientResponse, held: AsyncExitStack, gone: asyncio.Task[None]
    ) -> None:
        self._answer, self._gone, self._held = answer, gone, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until all is sent or the asker has gone."""
        async with self._held, self._answer:
            sending = asyncio.create_task(self._send(send))
            try:
                await asyncio.wait({sending, self._gone}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
            finally:
                await cancelled(sending, self._gone)

    async def _send(self, send: Send) -> None:
        headers = [
            (name.lower(), value)
            for name, value in self._answer.raw_headers
            if name.lower() in _KEPT
        ]
        await send(
            {"type": "http.response.start", "status": self._answer.status, "headers": headers}
        )
        async for part in self._parts():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _parts(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answer.content.iter_any():
                yield part
        except (aiohttp.ClientError, RuntimeError):  # the latter where Luna is being stopped
            if self._answer.content_type != _EVENTS:
                raise
            error = {"message": "The server ended while it answered: ask again.", "code": 503}
            error |= {"type": "server_error", "param": None}
            yield f"data: {json.dumps({'error': error})}\n\n".encode()


async def gone(receive: Receive) -> None:
    """Until the asker hangs up; the request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """End the tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
