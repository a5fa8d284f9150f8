"""Bytes by their SHA-256. A file is there whole or not at all.

Layout below the root: `files/ab/abcdef…` (content), `tmp/` (being received),
`work/` (scratch of runs, on the same disk so that publishing is a rename).
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from core import ids
from stillhouse.errors import DigestMismatch, StorageFull

CHUNK_BYTES = 1024 * 1024


class Incoming:
    """A file while it arrives: written and hashed once, then kept under its hash or dropped."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._path = storage.root / "tmp" / ids.new("req")
        self._file: BinaryIO = self._path.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _tb: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, chunks: list[bytes]) -> None:
        """Append pieces of the body, in order; a full disk is `StorageFull`."""
        self._storage.require_room(0)
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[self._file.write(view) :]
                self._hash.update(chunk)
                self.bytes += len(chunk)
        except OSError as error:
            raise _full_or(error) from error

    def keep(self, sha256: str) -> None:
        """Make it visible under its hash, durably.

        Args:
            sha256: what the bytes must hash to.

        Raises:
            DigestMismatch: if they don't; nothing is kept.
        """
        found = self._hash.hexdigest()
        if found != sha256:
            raise DigestMismatch(
                f"The body's SHA-256 is {found}, the address says {sha256}; nothing was kept.",
                field="sha256",
            )
        os.fsync(self._file.fileno())
        self._storage.adopt(self._path, sha256)


class Storage:
    """Files of a local folder; the seam where an object store fits."""

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self.root = root
        self.min_free_bytes = min_free_bytes
        for folder in ("files", "tmp", "work"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where a file lies, whether or not it's there."""
        return self.root / "files" / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether the file is there."""
        return self.path(sha256).is_file()

    def receive(self, expected_bytes: int = 0) -> Incoming:
        """Begin to receive a file of an announced size (0: unknown), if there's room for it."""
        self.require_room(expected_bytes)
        return Incoming(self)

    def require_room(self, size: int) -> None:
        """Refuse what wouldn't leave `min_free_bytes` free.

        Args:
            size: bytes that are to come.

        Raises:
            StorageFull: if there's no room for them.
        """
        if shutil.disk_usage(self.root).free - size < self.min_free_bytes:
            raise StorageFull

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a file of the same disk, hashed and synced by the caller, in under its hash."""
        target = self.path(sha256)
        try:
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                _sync_folder(target.parent.parent)
            path.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise _full_or(error) from error

    def read(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end) in chunks of about 1 MiB."""
        with self.path(sha256).open("rb", buffering=0) as file:
            file.seek(start)
            left = end - start
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    def delete(self, sha256: str) -> None:
        """Remove a file; one that isn't there is fine."""
        self.path(sha256).unlink(missing_ok=True)

    def check(self) -> None:
        """Write and remove a byte.

        Raises `StorageFull` if the disk is; `OSError` if the folder can't be written.
        """
        probe = self.root / "tmp" / ids.new("req")
        try:
            probe.write_bytes(b"1")
        except OSError as error:
            raise _full_or(error) from error
        finally:
            probe.unlink(missing_ok=True)


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _full_or(error: OSError) -> Exception:
    return StorageFull() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error
