"""The fastest client that is fair: plain sockets, 1 MiB a piece, no look at what arrives."""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PIECE_BYTES = 1024 * 1024


def put(port: int, path: str, file: Path) -> float:
    """PUT a file; the seconds until its 201 was there."""
    with file.open("rb", buffering=0) as body, _connected(port) as connection:
        began = time.perf_counter()
        connection.putrequest("PUT", path)
        connection.putheader("Content-Length", str(file.stat().st_size))
        connection.endheaders()
        while piece := body.read(PIECE_BYTES):
            connection.send(piece)
        answer = connection.getresponse()
        text = answer.read()
        seconds = time.perf_counter() - began
    if answer.status != 201:
        message = f"PUT {path} answered {answer.status}: {text[:300]!r}"
        raise RuntimeError(message)
    return seconds


def get(port: int, path: str, size: int) -> float:
    """GET `size` bytes and drop them; the seconds until the last was there."""
    piece = bytearray(PIECE_BYTES)
    with _connected(port) as connection:
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        received = 0
        while count := answer.readinto(piece):
            received += count
        seconds = time.perf_counter() - began
    if (answer.status, received) != (200, size):
        message = f"GET {path} answered {answer.status} and {received} bytes"
        raise RuntimeError(message)
    return seconds


def get_by_many(port: int, path: str, size: int, *, clients: int) -> float:
    """GET the same `size` bytes by several clients at once; the seconds until all had them."""
    with ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        for one in [pool.submit(get, port, path, size) for _ in range(clients)]:
            one.result()
        return time.perf_counter() - began


@contextlib.contextmanager
def loopback(file: Path) -> Iterator[int]:
    """A process that answers any request with a file, as fast as sockets go; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(listening, file), daemon=True
        )
        process.start()
    try:
        yield port
    finally:
        process.terminate()
        process.join()


def _serve(listening: socket.socket, file: Path) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_send, args=(connection, file), daemon=True).start()


def _send(connection: socket.socket, file: Path) -> None:
    with connection, file.open("rb", buffering=0) as body:
        connection.recv(65_536)
        size = file.stat().st_size
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while piece := body.read(PIECE_BYTES):
            connection.sendall(piece)


@contextlib.contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.connect()
    try:
        yield connection
    finally:
        connection.close()
