"""A server that speaks S3, on a free port; it can be told to fail, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEY, SECRET = "a-key", "a-secret"
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ObjectStore:
    """What it was asked, and how it fails.

    A request that fails does so in one of three ways, in turn: it's answered 503, or its
    connection is cut before it's looked at, or when it has taken effect.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        """Method and path of each request."""
        self.fails_every: int | None = None
        self.failed = 0
        self._app: Wsgi = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._ways = itertools.cycle((_refuse, self._cut_before, self._cut_after))

    @property
    def environment(self) -> dict[str, str]:
        """How a client finds it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def client(self) -> Any:
        """The reference client."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )  # fmt: skip

    def keys(self, bucket: str) -> list[str]:
        """What can be seen in a bucket."""
        found = self.client().list_objects_v2(Bucket=bucket).get("Contents", [])
        return [item["Key"] for item in found]

    def uploads(self, bucket: str) -> list[Any]:
        """The multipart uploads that were neither completed nor aborted."""
        found: list[Any] = self.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return found

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        with self._lock:
            self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            must_fail = self.fails_every and len(self.asked) % self.fails_every == 0
            self.failed += bool(must_fail)
            answer = next(self._ways) if must_fail else self._app
        return answer(environ, start)

    def _cut_before(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        _cut(environ)
        return _refuse(environ, start)

    def _cut_after(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        answer = list(self._app(environ, start))
        _cut(environ)
        return answer


@contextlib.contextmanager
def serving() -> Iterator[ObjectStore]:
    """One that listens; it has no bucket yet."""
    store = ObjectStore()
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=_Handler)
    store.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as by a real one


def _refuse(_environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", "0")])
    return [b""]


def _cut(environ: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
