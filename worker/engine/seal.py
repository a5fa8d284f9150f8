"""Files that are on the disk for certain, and known by their hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from worker.protocol import File


def file(path: Path, *, listed: str) -> File:
    """Flush a file to the disk and hash what is there; `listed` is the name others see."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        length = stream.tell()
    return {"path": listed, "file": str(path), "sha256": digest, "bytes": length}


def folder(path: Path) -> None:
    """Flush a folder's entries to the disk: a rename isn't there before that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
