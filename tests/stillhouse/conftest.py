"""A service that misbehaves on purpose: what a real one can't be made to do.

It answers from a list of scripted answers by path, over a real socket.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    sent: int | None = None
    """Bytes after which the connection is cut; None: all of them."""
    after: threading.Event | None = None
    """What the answer waits for."""


@dataclasses.dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Script:
    """Answers a path's requests one after the other, the last answer again and again."""

    def __init__(self) -> None:
        self.url = ""
        self.otherwise = Answer(404)
        """What a path answers that has no answers of its own."""
        self.start: Callable[[], None] = lambda: None
        self.requests: list[Request] = []
        self.asked = threading.Event()
        self._answers: dict[str, list[Answer]] = {}

    def on(self, path: str, *answers: Answer) -> None:
        self._answers[path] = list(answers)

    def take(self, request: Request) -> Answer:
        self.requests.append(request)
        self.asked.set()
        answers = self._answers.get(request.path.partition("?")[0], [self.otherwise])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    named = {"Content-Type": "application/json"}
    named |= {key.replace("_", "-"): text for key, text in headers.items()}
    return Answer(status, json.dumps(value).encode(), named)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        answer = self.script.take(Request(self.command, self.path, dict(self.headers), body))
        if answer.after is not None:
            answer.after.wait(30)
        # The other one adds a Date of its own.
        begin = self.send_response_only if "Date" in answer.headers else self.send_response
        begin(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.sent])
        if answer.sent is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may go whenever it likes
            super().handle_error(request, client_address)


@pytest.fixture
def script(late_script: Script) -> Script:
    late_script.start()
    return late_script


@pytest.fixture
def late_script() -> Iterator[Script]:
    """One that has an address, where nothing listens until it is started."""
    found = Script()
    handler = type("Handler", (_Handler,), {"script": found})
    with (
        _Server(("127.0.0.1", 0), handler, bind_and_activate=False) as server,
        contextlib.ExitStack() as stack,
    ):
        server.server_bind()
        found.url = f"http://127.0.0.1:{server.server_address[1]}"

        def start() -> None:
            server.server_activate()
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)

        found.start = start
        yield found
