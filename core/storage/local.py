"""Files of a local folder, or of one that several hosts share.

Layout below the root: `files/ab/abcdef…` (content), `tmp/` (being received),
`work/` (scratch of runs, on the same disk so that publishing is a rename).
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core import ids
from core.storage.interface import CHUNK_BYTES, Gone, address, is_hash, require_digest
from stillhouse.errors import StorageFull


class LocalIncoming:
    """A file in `tmp/` that becomes one of `files/`."""

    def __init__(self, storage: LocalStorage, sha256: str) -> None:
        self._storage = storage
        self._sha256 = sha256
        self._path = storage.scratch / "tmp" / ids.new("req")
        self._file: BinaryIO = self._path.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunks: list[bytes]) -> None:
        """Append pieces of the body, in order."""
        self._storage.require_room(0)
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[self._file.write(view) :]
                self._hash.update(chunk)
                self.size += len(chunk)
        except OSError as error:
            raise full_or(error) from error

    def keep(self) -> None:
        """Sync it and give it its name."""
        require_digest(self._hash.hexdigest(), self._sha256)
        os.fsync(self._file.fileno())
        self._storage.adopt(self._path, self._sha256)

    def close(self) -> None:
        """Remove what wasn't kept."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class LocalStorage:
    """Files below a folder; runs read them where they lie."""

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self.scratch = root
        self.min_free_bytes = min_free_bytes
        self.prepare()

    def path(self, sha256: str) -> Path:
        """Where a file lies, whether or not it's there; `ValueError` if that's no hash."""
        return self.scratch / "files" / address(sha256)

    def has(self, sha256: str) -> bool:
        """Whether the file is there."""
        return self.path(sha256).is_file()

    def receive(self, sha256: str, expected_bytes: int = 0) -> LocalIncoming:
        """Begin to receive a file."""
        self.path(sha256)  # it has one: what is no hash is refused before anything arrives
        self.require_room(expected_bytes)
        return LocalIncoming(self, sha256)

    def require_room(self, size: int) -> None:
        """Refuse `size` bytes that wouldn't leave `min_free_bytes` free, with `StorageFull`."""
        if shutil.disk_usage(self.scratch).free - size < self.min_free_bytes:
            raise StorageFull

    def read(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end)."""
        with self.path(sha256).open("rb", buffering=0) as file:
            file.seek(start)
            left = end - start
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a file of the same disk in under its hash."""
        target = self.path(sha256)
        try:
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                _sync_folder(target.parent.parent)
            path.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise full_or(error) from error

    def place(self, sha256: str, _folder: Path) -> Path:
        """It's read in place."""
        return self.path(sha256)

    def fetch(self, sha256: str, _folder: Path) -> None:
        """It's there already, or gone."""
        if not self.has(sha256):
            raise Gone(sha256)

    def delete(self, *hashes: str) -> None:
        """Remove files."""
        for sha256 in hashes:
            self.path(sha256).unlink(missing_ok=True)

    def link(self, _sha256: str, *, seconds: int) -> None:
        """Nobody but this service serves a folder."""
        del seconds

    def names(self, *, before: float = math.inf) -> Iterator[list[str]]:
        """A batch a folder."""
        for folder in (self.scratch / "files").iterdir():
            yield [
                item.name
                for item in folder.iterdir()
                if is_hash(item.name) and changed_at(item) < before
            ]

    def check(self) -> None:
        """Write and remove a byte."""
        probe = self.scratch / "tmp" / ids.new("req")
        try:
            probe.write_bytes(b"1")
        except OSError as error:
            raise full_or(error) from error
        finally:
            probe.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Make the folders."""
        for folder in ("files", "tmp", "work"):
            (self.scratch / folder).mkdir(parents=True, exist_ok=True)


def changed_at(item: Path) -> float:
    """When a file was last changed; what is gone meanwhile is as young as can be."""
    try:
        return item.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def full_or(error: OSError) -> Exception:
    """The error, or `StorageFull` if that is what it says."""
    return StorageFull() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
