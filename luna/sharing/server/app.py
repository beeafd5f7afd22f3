"""The web application of `luna serve`: its routes, and how a request is made ready.

See https://platform.openai.com/docs/api-reference. What llama-server answers goes back untouched; here a request gets
its generation, the system prompt of the teaching and its tokens, and what nobody would heed is refused.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from luna.errors import ExportError, InputError, LunaError, UnknownGeneration
from luna.names import GenerationName, head_tag
from luna.sharing.server import forms, passing
from luna.sharing.server.body import Refused, json_object
from luna.sharing.server.forms import Form, Unknown
from luna.sharing.server.gate import Gate, Rules, error
from luna.sharing.server.prompts import texts
from luna.sharing.server.servers import Served, Servers

MAX_REQUESTS = 512  # under way or waiting


_HUNG_UP = 499  # as nginx calls it; nobody reads it
_Answered = tuple[aiohttp.ClientResponse, AsyncExitStack]


class Api:
    """The handlers of the routes, over the servers of the generations."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._busy = 0

    def routes(self) -> list[Route]:
        """The routes, for an application that may have more of its own."""
        own = {
            "/health": self.health,
            "/v1/health": self.health,
            "/v1/models": self.models,
            "/models": self.models,
            "/v1/models/{name}": self.model,
            "/metrics": self.metrics,
        }
        return [Route(path, handler, methods=["GET"]) for path, handler in own.items()] + [
            Route(path, self.passed, methods=["POST"]) for path in forms.PASSED
        ]

    async def health(self, request: Request) -> Response:
        """Whether the server runs, and the current best."""
        return JSONResponse({"status": "ok", "head": self._servers.head})

    async def models(self, request: Request) -> Response:
        """Every name that can be asked for."""
        names = await self._servers.names()
        return JSONResponse({"object": "list", "data": [await self._model(name) for name in names]})

    async def model(self, request: Request) -> Response:
        """One model, by any spelling."""
        reference = request.path_params["name"]
        await self._servers.full_name(reference)
        return JSONResponse(await self._model(reference))

    async def _model(self, reference: str) -> dict[str, Any]:
        name = GenerationName.parse(await self._servers.full_name(reference))
        born = int(datetime.fromisoformat(name.timestamp).timestamp())
        return {"id": reference, "object": "model", "created": born, "owned_by": "luna"}

    async def metrics(self, request: Request) -> Response:
        """llama-server's own figures for Prometheus; of the current best, or of ?model=NAME."""
        reference = request.query_params.get("model", head_tag(self._servers.prefix))
        return await self._heard(request, self._asked("GET", "/metrics", reference, None))

    async def passed(self, request: Request) -> Response:
        """A request for llama-server, made ready and passed on."""
        path = request.url.path
        body = await json_object(request)
        forms.PASSED[path].check(body)
        reference = body.get("model") or head_tag(self._servers.prefix)
        if not isinstance(reference, str):
            raise Unknown("'model' must be a name.", "model")
        return await self._heard(request, self._asked("POST", path, reference, body))

    async def _heard(self, request: Request, work: Coroutine[Any, Any, _Answered]) -> Response:
        """What the work gives, unless the asker hangs up before: then it ends at once."""
        answering = asyncio.create_task(work)
        gone = asyncio.create_task(passing.gone(request.receive))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return passing.Passed(*answering.result(), gone)
        except BaseException:
            await passing.cancelled(answering, gone)
            raise
        await passing.cancelled(answering)
        return Response(status_code=_HUNG_UP)

    async def _asked(
        self, method: str, path: str, reference: str, body: dict[str, Any] | None
    ) -> _Answered:
        """The beginning of llama-server's answer, and what is held for it until its end."""
        if self._busy >= MAX_REQUESTS:
            raise Refused(error(429, f"{MAX_REQUESTS} requests are in progress: ask again soon."))
        async with AsyncExitStack() as held:
            self._busy += 1
            held.callback(self._done)
            name = await self._servers.full_name(reference)
            served = await held.enter_async_context(self._servers.taken(name))
            if body is not None:
                body = await self._ready(served, forms.PASSED[path], body | {"model": name})
                if path in forms.WRITING:
                    assert served.shape and served.cells  # taken
                    body, cells = forms.WRITING[path].bounded(body, served.shape.tokens)
                    cells = min(cells, served.shape.cells)
                    await held.enter_async_context(served.cells.taken(cells))
            answer = await passing.ask(self._servers, served, method, path, body)
            return answer, held.pop_all()

    def _done(self) -> None:
        self._busy -= 1

    async def _ready(self, served: Served, form: Form, body: dict[str, Any]) -> dict[str, Any]:
        """The body with its prompt as tokens, where it is a conversation."""
        prompts, body = served.prompts, form.mended(body)
        assert prompts and served.server  # taken
        if not form.conversation:
            return body
        if body.get("tools") and not served.server.knows_tools:
            raise Unknown(
                f"The chat template of {served.name} knows no tools: leave 'tools' out, or ask for a JSON schema by "
                "'response_format'; a base whose template has tools brings them.",
                "tools",
            )
        chat = {key: body[key] for key in body.keys() & forms.CHAT.keys}
        chat["messages"] = form.conversation(body)
        if form.system is None:
            render = functools.partial(passing.rendered, self._servers, served)
            return body | {"prompt": await prompts.tokens(chat, render)}
        plain = prompts.conversation(chat)
        if plain is not None:
            return body | {"prompt": await prompts.by_luna(plain)}
        if any(map(prompts.marks.written_in, texts(chat))):
            raise InputError(
                "A control mark of the chat template stands in a request with tools: ask by /v1/chat/completions, where it is text."
            )
        return body if body.get(form.system) is not None else body | {form.system: prompts.system}


def make(servers: Servers, rules: Rules, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The application over servers that run; ``more`` routes come before its own."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(rules.origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
    )
    return Starlette(
        routes=[*more, *Api(servers).routes()],
        middleware=[*([cors] if rules.origins else []), Middleware(Gate, rules=rules)],
        exception_handlers={
            Refused: lambda _, refused: refused.answer,
            passing.Refusal: lambda _, refusal: Response(
                refusal.content, refusal.status, media_type="application/json"
            ),
            LunaError: _refusal,
            HTTPException: _not_there,
            ClientDisconnect: lambda *_: Response(status_code=_HUNG_UP),
            Exception: lambda *_: error(500, "Luna failed at this request: ask again."),
        },
    )


def _refusal(request: Request, failure: Exception) -> Response:
    text = str(failure)
    if isinstance(failure, Unknown):
        return error(400, text, failure.key)
    if isinstance(failure, UnknownGeneration):
        return error(404, text, "model", "model_not_found")
    return error(400 if isinstance(failure, InputError | ExportError) else 503, text)


def _not_there(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)
    path = f"{request.method} {request.url.path}"
    if failure.status_code == 405:
        return error(405, f"{path} is not there, but the path is: another method.")
    return error(failure.status_code, f"There is no {path} here.", code="not_found")
