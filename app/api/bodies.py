"""Before a route sees a request: the size of its body, and whether it's clean JSON.

Plain ASGI, since Starlette's own middleware class would stand between an upload and the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import errors
from stillhouse.errors import (
    Malformed,
    SpecInvalid,
    StillhouseError,
    TooLarge,
    UnsupportedMediaType,
)

log = logging.getLogger(__name__)

BODY_SECONDS = 30.0  # a JSON body is small; one that trickles holds a connection


class Bodies:
    """Refuses bodies that are too large, not JSON, or that mean different things to two readers."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            _refuse_nul(request)
            if scope["method"] in ("POST", "PATCH"):
                body = await self._read(request)
                scope["stillhouse.body_sha256"] = hashlib.sha256(body).hexdigest()
                receive = _replay(body, receive)
        except ClientDisconnect:
            return  # nobody is left to answer
        except StillhouseError as error:
            await errors.respond(request, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _read(self, request: Request) -> bytes:
        chunks, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._max_body_bytes:
                        raise TooLarge(f"The body is larger than {self._max_body_bytes} bytes.")
                    chunks.append(chunk)
        except TimeoutError as error:
            raise Malformed(f"The body did not arrive within {BODY_SECONDS:.0f} s.") from error
        body = b"".join(chunks)
        if body:
            media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type != "application/json" and not media_type.endswith("+json"):
                raise UnsupportedMediaType
            request.scope["stillhouse.json"] = _require_clean(body)
        return body


def _refuse_nul(request: Request) -> None:
    if b"%00" in request.scope["query_string"] or "\x00" in request.scope["path"]:
        raise SpecInvalid("A NUL character is in the address.", field="path")


def _require_clean(body: bytes) -> Any:
    """Its value, if it has one meaning for all readers.

    No duplicate key, NaN, infinity, NUL or lone surrogate.
    """
    try:
        value = json.loads(
            body,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_distinct_keys,
        )
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except StillhouseError:
        raise
    except UnicodeEncodeError as error:
        raise SpecInvalid("A string holds a lone surrogate.", field="body") from error
    except (ValueError, RecursionError) as error:
        raise Malformed(f"The body is not JSON: {str(error)[:200]}.") from error
    if "\\u0000" in text:
        raise SpecInvalid("A string holds a NUL character.", field="body")
    return value


def _refuse_constant(name: str) -> float:
    raise SpecInvalid(f"{name} is not a number in JSON; every number must be finite.", field="body")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise SpecInvalid(f"{text[:40]} is too large; every number must be finite.", field="body")
    return number


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed(f"The key '{key[:64]}' stands twice in one object.")
        found[key] = value
    return found


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
