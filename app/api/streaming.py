"""Files over HTTP: whole or one range, by hash, in chunks of about 1 MiB."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.deps import State
from core.storage import Storage
from stillhouse.errors import NotFound, RangeNotSatisfiable

_RANGE = re.compile(r"^bytes=(\d{0,400})-(\d{0,400})$")
_BLOCK = 512
LINK_SECONDS = 900  # a link is an access right to its holder: long enough to begin, no longer


def file(request: Request, state: State, *, sha256: str, size: int, name: str) -> Response:
    """A stored file, or where it is to be had.

    Raises `NotFound` if its bytes are gone; `RangeNotSatisfiable` if the one range asked for
    lies outside it.
    """
    tag = f'"{sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f'attachment; filename="{name.rsplit("/", 1)[-1]}"',
    }
    if _names(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    wanted = _range(request, tag, size)
    start, end = wanted or (0, size)
    headers["Content-Length"] = str(end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if wanted is not None else 200
    # The books answer a HEAD, and a link is signed unseen: a file that a bucket lost shows as the
    # bucket's own 404 behind the link.
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    if (link := _link(state, sha256)) is not None:
        headers = {"Location": link, "ETag": tag, "Cache-Control": "no-store"}
        return Response(status_code=307, headers=headers)
    if not state.storage.has(sha256):
        raise NotFound("The file is gone.")
    body = state.storage.read(sha256, start, end)
    return StreamingResponse(body, status, headers, media_type="application/octet-stream")


def archive(storage: Storage, files: list[dict[str, Any]], *, name: str, made: float) -> Response:
    """A tar of files, streamed; its size is known beforehand."""
    for item in files:
        if not storage.has(item["sha256"]):
            raise NotFound("A file is gone.")
    size = sum(_BLOCK + _padded(item["bytes"]) for item in files) + 2 * _BLOCK
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{name}.tar"',
    }
    return StreamingResponse(
        _tar(storage, files, name, int(made)), headers=headers, media_type="application/x-tar"
    )


def _link(state: State, sha256: str) -> str | None:
    if state.settings.downloads == "stream":
        return None
    return state.storage.link(sha256, seconds=LINK_SECONDS)


def _tar(storage: Storage, files: list[dict[str, Any]], name: str, made: int) -> Iterator[bytes]:
    for item in files:
        info = tarfile.TarInfo(f"{name}/{item['path']}")
        info.size, info.mtime, info.mode = item["bytes"], made, 0o644
        yield info.tobuf(tarfile.USTAR_FORMAT if info.size < 8 * 1024**3 else tarfile.GNU_FORMAT)
        yield from storage.read(item["sha256"], 0, item["bytes"])
        yield b"\0" * (_padded(item["bytes"]) - item["bytes"])
    yield b"\0" * (2 * _BLOCK)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _range(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    sent = request.headers.get("range")
    if sent is None or request.headers.get("if-range", tag) != tag:
        return None
    found = _RANGE.match(sent.strip())
    if found is None or found.groups() == ("", ""):
        return None  # several ranges, or another unit: RFC 9110 lets us answer the whole
    first, last = found.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", size=size)
    return start, end


def _names(header: str | None, tag: str) -> bool:
    if header is None:
        return False
    return tag in [item.strip().removeprefix("W/") for item in header.split(",")] or header == "*"
