"""Latencies of single requests over one connection that stays open."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator

MS = 1000.0


class Caller:
    """One client with one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(self, path: str) -> float:
        """Milliseconds until a 200 and its body are read."""
        began = time.perf_counter()
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - began
        if answer.status != 200:
            message = f"GET {path} answered {answer.status}: {body[:300]!r}"
            raise RuntimeError(message)
        return seconds * MS

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextlib.contextmanager
def waiting(port: int, paths: list[str], *, seconds: int) -> Iterator[None]:
    """Clients that wait with `Prefer: wait`; the block's end waits for their answers."""
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=120) for _ in paths]
    for connection, path in zip(connections, paths, strict=True):
        connection.request("GET", path, headers={"Prefer": f"wait={seconds}"})
    yield
    for connection in connections:
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            message = f"a waiting client was answered {answer.status}"
            raise RuntimeError(message)
