"""Bytes up and down: hashed on this side too, streamed, resumed where they broke off."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from stillhouse import errors
from stillhouse.connection import Connection

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

_CHUNK_BYTES = 1 << 20
_PLAIN_PATH = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*")


def ignore(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


def upload(connection: Connection, file: Path, *, progress: Progress = ignore) -> str:
    """Puts a file where its SHA-256 says; bytes that are there already are not sent."""
    total = file.stat().st_size
    sha256 = _sha256(file)
    path = f"/v1/blobs/{sha256}"
    if not _is_there(connection, path):
        connection.send(
            "PUT",
            path,
            headers={"Content-Length": str(total), "Content-Type": "application/octet-stream"},
            content=lambda: _chunks(file, progress=progress),
        )
    progress(total, total)
    return sha256


def download(
    connection: Connection,
    student: Mapping[str, Any],
    folder: Path,
    *,
    progress: Progress = ignore,
) -> Path:
    """Brings all files of a student into `folder`.

    What is there already and intact stays; what broke off goes on from where it stopped. A file
    that arrives damaged twice raises DigestMismatch, and nothing of it is kept.

    Args:
        connection: The service that holds the student.
        student: The student's object, as the API answers it.
        folder: Where the files go; made if it isn't there.
        progress: Called with the bytes of all files.

    Returns:
        The folder.
    """
    total = sum(entry["bytes"] for entry in student["files"])
    before = 0
    for entry in student["files"]:
        target = _inside(folder, entry["path"])
        target.parent.mkdir(parents=True, exist_ok=True)

        def report(done: int, *, before: int = before) -> None:
            progress(before + done, total)

        if not _is_intact(target, entry):
            url = f"/v1/students/{student['id']}/files/{entry['path']}"
            _bring(connection, url, target, entry=entry, report=report)
        before += entry["bytes"]
        progress(before, total)
    return folder


def _bring(
    connection: Connection,
    url: str,
    target: Path,
    *,
    entry: Mapping[str, Any],
    report: Callable[[int], None],
) -> None:
    part = target.with_name(target.name + ".part")
    for _ in range(2):
        connection.persist(
            lambda: _append(connection, url, part, entry=entry, report=report),
            position=lambda: _size(part),
        )
        if _is_intact(part, entry):
            part.replace(target)
            return
        part.unlink(missing_ok=True)
    raise errors.DigestMismatch(
        f"{entry['path']} arrived twice with other bytes than its SHA-256 says; nothing was kept.",
        path=entry["path"],
    )


def _append(
    connection: Connection,
    url: str,
    part: Path,
    *,
    entry: Mapping[str, Any],
    report: Callable[[int], None],
) -> None:
    have = _size(part)
    if have >= entry["bytes"] > 0:
        return  # complete, or too long: the hash decides
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": f'"{entry["sha256"]}"'}
    with connection.stream(url, headers=headers) as response:
        resumed = response.status_code == 206
        _write(response, part, start=have if resumed else 0, limit=entry["bytes"], report=report)


def _write(
    response: httpx.Response, part: Path, *, start: int, limit: int, report: Callable[[int], None]
) -> None:
    done = start
    # No buffer here and none in httpx: what has arrived when it breaks off is not fetched again.
    with part.open("ab" if start else "wb", buffering=0) as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            done += len(chunk)
            report(min(done, limit))
            if done > limit:
                break  # not this file; the hash will say so
        os.fsync(file.fileno())


def _inside(folder: Path, path: str) -> Path:
    # The service names the files; it must not choose where on this machine they go.
    if not _PLAIN_PATH.fullmatch(path):
        raise errors.Malformed(f"The service names a file {path!r}, which can't be a path here.")
    return folder / path


def _is_there(connection: Connection, path: str) -> bool:
    try:
        connection.send("HEAD", path)
    except errors.NotFound:
        return False
    return True


def _is_intact(file: Path, entry: Mapping[str, Any]) -> bool:
    return bool(_size(file) == entry["bytes"] and file.exists()) and (
        _sha256(file) == entry["sha256"]
    )


def _size(file: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _chunks(file: Path, *, progress: Progress) -> Iterator[bytes]:
    total, done = file.stat().st_size, 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
            done += len(chunk)
            progress(done, total)
