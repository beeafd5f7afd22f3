"""The web application of `luna serve`: OpenAI's chat completions, models and health.

See https://platform.openai.com/docs/api-reference/chat

Starlette over our own engine rather than llama-cpp-python's server: that one loads a fixed list of
files at its start, so it could neither follow the head nor let running answers end on the old one.
"""

from __future__ import annotations

import hmac
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from luna.errors import InputError, LunaError
from luna.sharing.pool import Loaded, Pool

MAX_BODY_BYTES = 1_000_000
MAX_REQUESTS = 32  # under way or waiting; below the 40 threads that Starlette has


class Message(BaseModel):
    """One message of a request."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Ask(BaseModel):
    """What is understood of a request; all else (temperature, top_p, ...) is let pass: answers are greedy."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)


def _error(status: int, message: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse(
        {"error": {"message": message, "type": kind, "param": None, "code": None}}, status
    )


async def _body(request: Request) -> bytes | None:
    """The request's body, or None as soon as it is longer than allowed."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


class AnswerStep(NamedTuple):
    """A piece of an answer; or, at its end, none and why it ended."""

    piece: str
    finish: str | None = None


def make(pool: Pool, api_key: str | None, default_tokens: int = 256) -> Starlette:
    """The server's application: OpenAI's chat completions over the pool's models."""
    busy = 0

    def refused(request: Request) -> JSONResponse | None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if api_key and not hmac.compare_digest(given.encode(), api_key.encode()):
            return _error(
                401, "The API key is wrong or missing: send it as 'Authorization: Bearer KEY'."
            )
        return None

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "head": pool.head})

    async def list_models(request: Request) -> Response:
        if no := refused(request):
            return no
        names = await run_in_threadpool(pool.names)
        return JSONResponse(
            {
                "object": "list",
                "data": [
                    {"id": name, "object": "model", "created": 0, "owned_by": "luna"}
                    for name in names
                ],
            }
        )

    async def completions(request: Request) -> Response:
        nonlocal busy
        if no := refused(request):
            return no
        body = await _body(request)
        if body is None:
            return _error(413, f"The request is longer than {MAX_BODY_BYTES:,} bytes: send less.")
        try:
            ask = Ask.model_validate_json(body)
        except ValidationError as error:
            wrong = error.errors()[0]
            return _error(400, f"{'.'.join(map(str, wrong['loc'])) or 'the body'}: {wrong['msg']}.")
        if busy >= MAX_REQUESTS:
            return _error(429, f"{MAX_REQUESTS} requests are in progress: try again in a moment.")
        busy += 1
        loaded = None
        try:
            loaded = await run_in_threadpool(pool.take, ask.model)
            pieces = loaded.answer(
                [(message.role, message.content) for message in ask.messages],
                ask.max_completion_tokens or ask.max_tokens or default_tokens,
            )
            first = await run_in_threadpool(
                _step, pieces
            )  # what is wrong with the request is known before the answer begins
        except BaseException as error:
            busy -= 1
            if loaded:
                pieces.close()
                pool.release(loaded)
            if isinstance(error, LunaError):
                return _error(
                    404 if isinstance(error, InputError) else 400 if loaded else 503, str(error)
                )
            raise

        async def text() -> AsyncGenerator[AnswerStep]:
            nonlocal busy
            try:
                yield (step := first)
                while not step.finish:
                    yield (step := await run_in_threadpool(_step, pieces))
            finally:  # also when the client hangs up
                pieces.close()
                busy -= 1
                pool.release(loaded)

        return (
            StreamingResponse(_events(text(), loaded), media_type="text/event-stream")
            if ask.stream
            else await _whole(text(), loaded)
        )

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", list_models),
            Route("/v1/chat/completions", completions, methods=["POST"]),
        ]
    )


def _head(loaded: Loaded, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": loaded.name,
    }


def _step(pieces: Generator[str, None, str]) -> AnswerStep:
    try:
        return AnswerStep(next(pieces))
    except StopIteration as end:
        return AnswerStep("", end.value)


async def _whole(text: AsyncIterator[AnswerStep], loaded: Loaded) -> Response:
    steps = [step async for step in text]
    message = {"role": "assistant", "content": "".join(step.piece for step in steps)}
    return JSONResponse(
        _head(loaded, "chat.completion")
        | {"choices": [{"index": 0, "message": message, "finish_reason": steps[-1].finish}]}
    )


async def _events(text: AsyncGenerator[AnswerStep], loaded: Loaded) -> AsyncIterator[str]:
    head = _head(loaded, "chat.completion.chunk")

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        return f"data: {json.dumps(head | {'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]})}\n\n"

    try:
        yield event({"role": "assistant", "content": ""})
        async for piece, finish in text:
            yield event({}, finish) if finish else event({"content": piece})
        yield "data: [DONE]\n\n"
    finally:
        await text.aclose()
