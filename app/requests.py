"""Around every request: its id, a line in the log, and what the metrics count."""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics
from core import ids, logs

log = logging.getLogger(__name__)

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds; a line for each would bury the others."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FILES = frozenset({b"application/octet-stream", b"application/x-tar"})
GONE = 499  # nginx's number for a client that left without an answer


@dataclass(slots=True)
class Exchange:
    """What went over one request's connection."""

    began: float
    bytes_in: int = 0
    bytes_out: int = 0
    status: int = GONE
    is_file: bool = False

    def note(self, message: Message) -> None:
        """Take account of a piece of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.is_file = dict(message.get("headers", ())).get(b"content-type") in FILES
        else:
            self.bytes_out += len(message.get("body", b""))


class Requests:
    """The outermost part of the API. Plain ASGI, since it stands between an upload and the disk."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = ids.new("req")
        scope["stillhouse.request_id"] = request_id
        exchange = Exchange(began=time.perf_counter())

        async def counted() -> Message:
            message = await receive()
            exchange.bytes_in += len(message.get("body", b""))
            return message

        async def labelled(message: Message) -> None:
            exchange.note(message)
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        with logs.bound(request_id=request_id):
            try:
                await self._app(scope, counted, labelled)
            except Exception:
                # Starlette's own outermost part answers it with a 500, after us.
                exchange.status, scope["stillhouse.error_code"] = 500, "internal"
                raise
            finally:
                self._account(scope, exchange)

    def _account(self, scope: Scope, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = _template(scope)
        self._metrics.answered(method=method, route=route, status=exchange.status, seconds=seconds)
        code = scope.get("stillhouse.error_code")
        if code is not None:
            self._metrics.failed(code)
        if method == "PUT" and route.startswith(("/v1/blobs/", "/v1/uploads/")):
            self._metrics.uploaded(status=exchange.status, size=exchange.bytes_in)
        elif exchange.is_file:
            self._metrics.downloaded(exchange.bytes_out)
        if route not in QUIET:
            _write(method, route, exchange, seconds=seconds, key=scope.get("stillhouse.key"))


def _write(method: str, route: str, exchange: Exchange, *, seconds: float, key: str | None) -> None:
    """One line. The path is not in it: an address may hold what its sender wants kept."""
    fields: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": exchange.status,
        "milliseconds": round(seconds * 1000, 1),
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
    }
    if key is not None:
        fields["key"] = key
    log.log(
        logging.WARNING if exchange.status >= 500 else logging.INFO,
        "%s %s %d, %.1f ms, %d bytes in, %d bytes out",
        *itertools.islice(fields.values(), 6),
        extra=fields,
    )


def _template(scope: Scope) -> str:
    """The route's pattern: there are as many as there are routes, whatever is asked for."""
    return getattr(scope.get("route"), "path_format", "none")
