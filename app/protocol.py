"""HTTP with deadlines: uvicorn waits for ever for a request that never comes, and reads any header.

uvicorn has no setting for either (Kludex/uvicorn#157); a slow body is the routes' own matter.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and headers that are not complete yet."""


class DeadlineProtocol(HttpToolsProtocol):
    """Ends connections whose request line and headers come late or don't end."""

    head_seconds = 15.0
    """From a connection, or from the first byte of a request, to the end of its headers."""
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None
    """Runs while a head is awaited."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless this is a head without end."""
        super().data_received(data)
        if self._deadline is None:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins; on a connection that is kept alive, so does its clock."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """The request is known; its body has no deadline here."""
        self._head_is_there()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_is_there()
        self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def _head_is_there(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
