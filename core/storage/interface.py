"""What a storage can do, wherever its bytes lie."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stillhouse.errors import DigestMismatch

CHUNK_BYTES = 1024 * 1024
_HASH = re.compile(r"[0-9a-f]{64}")


class Gone(FileNotFoundError):
    """The storage doesn't have, or no longer has, the bytes of a hash."""


class Incoming(Protocol):
    """A file while it arrives: written and hashed once, then kept or dropped."""

    size: int
    """How many bytes have arrived."""

    def write(self, chunks: list[bytes]) -> None:
        """Append pieces of the body, in order; a full disk is `StorageFull`."""

    def keep(self) -> None:
        """Make it visible under its hash, durably; other bytes are `DigestMismatch`."""

    def close(self) -> None:
        """Drop what wasn't kept. Always to be called."""


class Storage(Protocol):
    """Files by their SHA-256; each is there whole or not at all.

    Methods raise `Unavailable` when the place where the bytes lie can't be reached, and
    `StorageFull` when it has no room.
    """

    scratch: Path
    """A folder of this host that holds `work/` (of runs) and `tmp/` (what arrives)."""

    def has(self, sha256: str) -> bool:
        """Whether the file is there."""

    def receive(self, sha256: str, expected_bytes: int = 0) -> Incoming:
        """Begin to receive a file of an announced size (0: unknown), if there's room for it."""

    def read(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end) in chunks of about 1 MiB; `FileNotFoundError` if it's gone."""

    def adopt(self, path: Path, sha256: str) -> None:
        """Take a file from below `scratch`, hashed and synced by the caller; it moves away."""

    def place(self, sha256: str, folder: Path) -> Path:
        """Where the file will lie on this host once it's fetched for `folder`."""

    def fetch(self, sha256: str, folder: Path) -> None:
        """Bring the file to its `place`; `Gone` if it isn't there."""

    def delete(self, *hashes: str) -> None:
        """Remove files; one that isn't there is fine."""

    def link(self, sha256: str, *, seconds: int) -> str | None:
        """An address that anybody may read the file from for a while; None: there is none."""

    def names(self, *, before: float = math.inf) -> Iterator[list[str]]:
        """The hashes of all files that were last written before a time, in batches.

        What else lies there is passed over.
        """

    def check(self) -> None:
        """Write a byte, quickly.

        Raises `OSError`, `StorageFull` or `Unavailable`, with a sentence that says what is wrong.
        """

    def prepare(self) -> None:
        """Make the place if it isn't there; `Unavailable` if that can't be done."""


def is_hash(name: str) -> bool:
    """Whether a name is a SHA-256 as we write it."""
    return _HASH.fullmatch(name) is not None


def address(sha256: str) -> str:
    """Where a file lies below a folder of files: `ab/abcdef…`.

    Raises `ValueError` for anything but a hash: it could lead out of the folder.
    """
    if not is_hash(sha256):
        message = f"{sha256!r} is no SHA-256 (64 hex digits, lower case)"
        raise ValueError(message)
    return f"{sha256[:2]}/{sha256}"


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def require_digest(found: str, sha256: str) -> None:
    """Refuse a body that isn't what its address says; `DigestMismatch`."""
    if found != sha256:
        raise DigestMismatch(
            f"The body's SHA-256 is {found}, the address says {sha256}; nothing was kept.",
            field="sha256",
        )
