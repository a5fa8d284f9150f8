"""Heads have an end: late ones and endless ones are cut off, everything else is served."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app import protocol
from tests import servers, waiting


class HurriedProtocol(protocol.DeadlineProtocol):
    """The same, for a test's patience."""

    head_seconds = 0.3


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    free = servers.free_port()
    kind = getattr(request, "param", protocol.DeadlineProtocol)
    config = uvicorn.Config(_app, port=free, http=kind, log_config=None)
    server = uvicorn.Server(config)
    serving = threading.Thread(target=lambda: asyncio.run(server.serve()))
    serving.start()
    waiting.until(lambda: server.started, what="a server")
    yield free
    server.should_exit = True
    serving.join()


def test_a_large_body_in_the_first_packet_is_no_large_head(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(2):  # the second request comes on the same connection
        connection.request("PUT", "/", body=b"x" * 3_000_000)
        assert connection.getresponse().read() == b"3000000"
    connection.close()


def test_a_head_without_end_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nx-long: ")
        assert _send_on(client, pieces=64) < 64 * 65_536


def _send_on(client: socket.socket, *, pieces: int) -> int:
    """How many bytes could be sent until the other side had hung up."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        for _ in range(pieces):
            client.sendall(b"a" * 65_536)
            sent += 65_536
    return sent


@pytest.mark.parametrize("port", [HurriedProtocol], indirect=True)
def test_a_head_that_does_not_come_is_not_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert client.recv(1) == b""
