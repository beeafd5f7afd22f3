"""The body of a request: bounded in bytes and in time, and a JSON object."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from luna.errors import InputError
from luna.sharing.server.gate import error

MAX_BODY_BYTES = 4_000_000
SECONDS_FOR_BODY = 60.0


class Refused(Exception):
    """A body that is too long or too slow, or too many requests: ``answer`` says so."""

    def __init__(self, answer: JSONResponse) -> None:
        super().__init__()
        self.answer = answer


async def json_object(request: Request) -> dict[str, Any]:
    """The request's JSON object; refused as soon as it is longer than allowed, or takes too long."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(SECONDS_FOR_BODY):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise Refused(
                        error(
                            413, f"The request is longer than {MAX_BODY_BYTES:,} bytes: send less."
                        )
                    )
                parts.append(part)
    except TimeoutError:
        raise Refused(
            error(408, f"The request did not come within {SECONDS_FOR_BODY:.0f} s: send it again.")
        ) from None
    try:
        body = json.loads(b"".join(parts), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise InputError("The request's body is not JSON: send a JSON object.") from None
    if not isinstance(body, dict):
        raise InputError("The request's body is not a JSON object: send one.")
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(
            "The request holds half of a surrogate pair, which is no text: send characters."
        ) from None
    return body


def _no_number(text: str) -> None:
    raise ValueError(text)  # NaN and the infinities are not JSON
