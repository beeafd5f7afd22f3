"""Who may ask: the key, the name in the Host header, and the page that a browser asks for."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPEN = frozenset(("/health", "/v1/health"))  # tells nothing, and is asked by what has no key


@dataclass(frozen=True)
class Rules:
    """``hosts``: names by which the server may be called (None: any, where a key is asked for); ``origins``: pages that may ask.

    ``open``: paths that need no key. ``no_origin`` and ``no_key`` say what to do about a refusal; {origin} is the page's.
    """

    api_key: str | None = None
    hosts: Sequence[str] | None = LOOPBACK
    origins: Sequence[str] = ()
    open: Collection[str] = _OPEN
    no_origin: str = "start 'luna serve' with --cors-origin {origin}"
    no_key: str = "send it as 'Authorization: Bearer KEY'"
    called: str = "API key"


def error(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> JSONResponse:
    """An error in OpenAI's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse(
        {"error": {"message": message, "type": kind, "param": param, "code": code}}, status
    )


class Gate:
    """ASGI middleware: refuses before anything is read."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        began = False

        async def sent(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await (refusal or self._app)(scope, receive, sent)
        except asyncio.CancelledError:  # Luna is being stopped
            if began:
                raise
            await error(503, "The server is being stopped: ask again later.")(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, rules = Headers(scope=scope), self._rules
        host, origin = headers.get("host", ""), headers.get("origin")
        # A page whose name is made to point here (DNS rebinding) shows itself by that name.
        if rules.hosts is not None and _name(f"//{host}") not in rules.hosts:
            return error(
                403, f"This server is not called {host!r}: ask it by {rules.hosts[0]}.", code="host"
            )
        if origin and origin not in rules.origins and urlsplit(origin).netloc != host:
            return error(
                403,
                f"A page of {origin} may not ask: {rules.no_origin.replace('{origin}', origin)}.",
                code="origin",
            )
        if rules.api_key and scope["path"] not in rules.open:
            given = headers.get("authorization", "").removeprefix("Bearer ")
            given = given or headers.get("x-api-key", "")
            if not hmac.compare_digest(given.encode(), rules.api_key.encode()):
                return error(
                    401,
                    f"The {rules.called} is wrong or missing: {rules.no_key}.",
                    code="invalid_api_key",
                )
        return None


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
