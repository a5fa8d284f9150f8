"""A server that speaks the Hub's reading protocol for small repositories, on a free port."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Its repositories, what it was asked, and how it fails."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """"models/owner/name" or "datasets/owner/name" -> files of `main`, which is `COMMIT`."""
    gated: set[str] = field(default_factory=set)
    token: str | None = None
    """If set, nobody reads anything without it."""
    is_down: bool = False
    claimed_size: int | None = None
    """A size that is told of every file."""
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""
    authorizations: set[str | None] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)
    """What clients said of themselves."""
    url: str = ""


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """Say nothing."""

    def _answer(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append(f"{self.command} /{path}")
        self.hub.agents.add(self.headers.get("User-Agent") or "")
        self.hub.authorizations.add(self.headers.get("Authorization"))
        if self.hub.is_down:
            self._send(503, b"")
        elif self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._send(401, b"", {"X-Error-Message": "Invalid credentials"})
        elif path.startswith("api/"):
            self._api(path.removeprefix("api/").split("/"), form)
        else:
            self._resolve(path)

    def _api(self, steps: list[str], form: dict[str, list[str]]) -> None:
        name, verb, revision = "/".join(steps[:3]), steps[3:4], "/".join(steps[4:])
        files = self._files(name, revision or "main")
        if files is None:
            return
        if verb == ["paths-info"]:
            size = self.hub.claimed_size
            self._json([
                {"type": "file", "path": path, "oid": _sha1(files[path]),
                 "size": len(files[path]) if size is None else size}
                for path in form["paths"] if path in files
            ])  # fmt: skip
        else:
            siblings = [{"rfilename": path} for path in files]
            self._json({"id": "/".join(steps[1:3]), "sha": COMMIT, "siblings": siblings})

    def _resolve(self, path: str) -> None:
        name, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        files = self._files(name if name.startswith("datasets/") else f"models/{name}", revision)
        if files is None:
            return
        told = {"X-Repo-Commit": COMMIT}
        if file not in files:
            self._send(404, b"", told | {"X-Error-Code": "EntryNotFound"})
            return
        content = files[file]
        # As the Hub does: whoever knows Xet would fetch from elsewhere.
        told |= {"ETag": f'"{_sha1(content)}"', "X-Xet-Hash": "f" * 64}
        self._send(200, content, told)

    def _files(self, name: str, revision: str) -> dict[str, bytes] | None:
        """A repository's files; None if it was answered why there are none."""
        if name in self.hub.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif name not in self.hub.repositories:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            return self.hub.repositories[name]
        return None

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """A Hub without repositories."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
