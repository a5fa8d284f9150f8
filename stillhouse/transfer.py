"""Bytes up and down: hashed on this side too, streamed, resumed where they broke off."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from stillhouse import errors
from stillhouse.connection import Connection

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

Entry = Mapping[str, Any]
"""A file of a student: its path, bytes and sha256."""

_CHUNK_BYTES = 1 << 20
_STUDENT_FILES = frozenset(
    {
        "model.pt2", "model.onnx", "model.safetensors",
        "config.json", "README.md", "report.json", "predictions.npz",
    }
)  # fmt: skip
_PLAIN_PATH = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*")


def ignore(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


def upload(connection: Connection, file: Path, *, progress: Progress = ignore) -> str:
    """Puts a file where its SHA-256 says; bytes that are there already are not sent."""
    total = file.stat().st_size
    progress(0, total)
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
    checking: Progress = ignore,
) -> Path:
    """Brings all files of a student into `folder`.

    What is there already and intact stays; what broke off goes on from where it stopped. A file
    that arrives damaged twice raises DigestMismatch, and nothing of it is kept.

    Args:
        connection: The service that holds the student.
        student: The student's object, as the API answers it.
        folder: Where the files go; made if it isn't there. One that holds a file of another
            student, or that is a file itself, is an OSError, and nothing is written.
        progress: Called with the bytes of all files, while some of them come.
        checking: Called with the bytes of files that are there already, while they are hashed.

    Returns:
        The folder.
    """
    targets = {entry["path"]: _inside(folder, entry["path"]) for entry in student["files"]}
    _require_own(folder, student)
    wanted = _damaged(student["files"], targets, checking=checking)
    total = sum(entry["bytes"] for entry in student["files"])
    before = total - sum(entry["bytes"] for entry in wanted)
    for entry in wanted:
        target = targets[entry["path"]]
        target.parent.mkdir(parents=True, exist_ok=True)

        def report(done: int, *, before: int = before) -> None:
            progress(before + done, total)

        url = f"/v1/students/{student['id']}/files/{entry['path']}"
        _bring(connection, url, target, entry=entry, report=report)
        before += entry["bytes"]
        progress(before, total)
    return folder


def _require_own(folder: Path, student: Mapping[str, Any]) -> None:
    """A loader takes what it finds: two students in one folder would pass for one."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"'{folder}' is a file; name a folder for the student's files.")
    own = {entry["path"] for entry in student["files"]}
    foreign = sorted(name for name in _STUDENT_FILES - own if (folder / name).exists())
    if foreign:
        raise FileExistsError(
            f"'{folder}' holds {', '.join(foreign)}, which {student['id']} doesn't have: another "
            "student's files. Name another folder, or remove them first. Nothing was written."
        )


def _damaged(
    entries: Sequence[Entry], targets: Mapping[str, Path], *, checking: Progress
) -> list[Entry]:
    """The files that aren't there, or not as they should be."""
    there = {path for path, target in targets.items() if target.exists()}
    total, done = sum(entry["bytes"] for entry in entries if entry["path"] in there), 0
    found = []
    for entry in entries:
        if entry["path"] not in there or not _is_intact(targets[entry["path"]], entry):
            found.append(entry)
        if entry["path"] in there:
            done += entry["bytes"]
            checking(done, total)
    return found


def _bring(
    connection: Connection,
    url: str,
    target: Path,
    *,
    entry: Entry,
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
    entry: Entry,
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


def _is_intact(file: Path, entry: Entry) -> bool:
    fits = file.exists() and _size(file) == entry["bytes"]
    return bool(fits and _sha256(file) == entry["sha256"])


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
