"""How often a second: clients that do one thing again and again, in processes of their own.

A client speaks HTTP over a bare socket that stays open: one written in Python must be cheap,
or it is the client that is measured.
"""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from collections.abc import Callable

from sqlalchemy import create_engine, text

Do = Callable[[], None]
Open = Callable[[], Do]
"""Opens a client's connection; what it returns does the thing once."""


def rate(open_one: Open, *, clients: int, seconds: float) -> float:
    """Things done a second by so many clients together, in one other process."""
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(open_one, clients, seconds, writing))
    process.start()
    found: float = reading.recv()
    process.join()
    return found


def _run(open_one: Open, clients: int, seconds: float, answer: object) -> None:
    counts = [0] * clients
    begins = threading.Barrier(clients)
    until = [0.0]

    def work(place: int) -> None:
        do = open_one()
        do()
        if begins.wait() == 0:
            until[0] = time.perf_counter() + seconds
        while not until[0] or time.perf_counter() < until[0]:
            do()
            counts[place] += 1

    threads = [threading.Thread(target=work, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answer.send(sum(counts) / seconds)  # type: ignore[attr-defined]  # one end of a Pipe


def request(port: int, method: str, path: str, body: bytes = b"", *, status: int) -> Open:
    """A client that sends one request again and again and wants this status."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    sent = (head + "Content-Type: application/json\r\n\r\n").encode() + body
    wanted = f"HTTP/1.1 {status} ".encode()

    def open_one() -> Do:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def do() -> None:
            connection.sendall(sent)
            answer = _answer(connection)
            if not answer.startswith(wanted):
                message = f"{method} {path} was answered {answer[:300]!r}"
                raise RuntimeError(message)

        return do

    return open_one


def insert(url: str) -> Open:
    """A client that inserts one row of a small table and commits, again and again."""
    driver = url.replace("postgresql://", "postgresql+psycopg://", 1)

    def open_one() -> Do:
        engine = create_engine(driver)
        connection = engine.connect()
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA synchronous = FULL")
            connection.exec_driver_sql("PRAGMA busy_timeout = 10000")
        statement = text("INSERT INTO bare (document) VALUES (:document)")

        def do() -> None:
            connection.execute(statement, {"document": "x" * 500})
            connection.commit()

        return do

    return open_one


def make_bare(url: str) -> None:
    """The small table."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    kind = "INTEGER" if engine.dialect.name == "sqlite" else "BIGSERIAL"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE bare (id {kind} PRIMARY KEY, document TEXT)")
    engine.dispose()


def _answer(connection: socket.socket) -> bytes:
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _piece(connection)
    head = received[:end].lower()
    start = head.index(b"content-length:") + len(b"content-length:")
    length = int(head[start:].split(b"\r\n", 1)[0])
    while len(received) < end + 4 + length:
        received += _piece(connection)
    return received


def _piece(connection: socket.socket) -> bytes:
    piece = connection.recv(65_536)
    if not piece:
        message = "the server hung up"
        raise ConnectionError(message)
    return piece
