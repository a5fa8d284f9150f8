"""Files that leave intake: on disk for good, and named by their hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from worker.protocol import File


def file(path: Path) -> File:
    """Flush a file of the work folder to disk and describe it."""
    with path.open("rb") as written:
        os.fsync(written.fileno())
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return File(path=path.name, file=str(path), sha256=digest, bytes=path.stat().st_size)
