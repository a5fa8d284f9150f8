"""Files from afar that a host keeps, shared by all its workers.

A run holds what it uses by a hard link in its own folder, so that making room can never
take a file from under it. What lies here under a hash was verified and synced before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from core import ids
from core.storage.interface import address
from core.storage.local import full_or


class Cache:
    """A folder of files by hash; those used longest ago go first.

    Args:
        scratch: the folder of this host; its `cache/` and `tmp/` lie on one disk.
        limit: bytes that it may hold when nobody is fetching.
    """

    def __init__(self, scratch: Path, *, limit: int) -> None:
        self._root = scratch / "cache"
        self._tmp = scratch / "tmp"
        self._limit = limit

    def lend(self, sha256: str, target: Path, download: Callable[[BinaryIO], None]) -> None:
        """Link a file to `target`; it's downloaded once, however many ask for it.

        Args:
            sha256: its hash.
            target: where it's wanted; one that is there already is right.
            download: writes the file's bytes, and raises unless they are all of it.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() or self._link(sha256, target):
            return
        with _locked(self._path(sha256).with_name("lock")):
            if self._link(sha256, target):
                return
            with self._arriving() as part:
                with part.open("xb") as file:
                    download(file)
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):  # as below
                    os.link(part, target)
                part.replace(self._path(sha256))
        self._make_room()

    def keep(self, path: Path, sha256: str) -> None:
        """Move a whole, synced file in: whoever made it will need it soon."""
        kept = self._path(sha256)
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.replace(kept)
        os.utime(kept)
        self._make_room()

    def drop(self, sha256: str) -> None:
        """Forget a file; who holds a link to it still has it."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._root / address(sha256)

    def _link(self, sha256: str, target: Path) -> bool:
        kept = self._path(sha256)
        try:
            os.link(kept, target)
            os.utime(kept)  # used now: it goes last
        except FileExistsError:
            return True  # somebody else wanted it at the same place
        except FileNotFoundError:
            return target.exists()  # it was made room for after it was linked
        return True

    @contextlib.contextmanager
    def _arriving(self) -> Iterator[Path]:
        self._tmp.mkdir(parents=True, exist_ok=True)
        part = self._tmp / ids.new("req")
        try:
            yield part
        except OSError as error:
            raise full_or(error) from error
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Remove what was used longest ago until the rest fits."""
        with _locked(self._root / "lock"):
            kept = sorted(self._entries(), key=lambda entry: entry[1].st_mtime)
            size = sum(stat.st_size for _, stat in kept)
            for path, stat in kept:
                if size <= self._limit:
                    return
                path.unlink(missing_ok=True)
                size -= stat.st_size

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._root.glob("??/*"):
            if path.name != "lock":
                with contextlib.suppress(FileNotFoundError):
                    yield path, path.stat()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that is shared by the processes of this host; it goes with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
