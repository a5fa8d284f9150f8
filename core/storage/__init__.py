"""Bytes by their SHA-256: in a folder, or in a bucket. Their books are `core.files`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from core.settings import Settings
from core.storage.interface import CHUNK_BYTES, Gone, Incoming, Storage, address, digest, is_hash
from core.storage.local import LocalStorage
from core.storage.s3 import S3Storage

__all__ = [
    "CHUNK_BYTES",
    "Gone",
    "Incoming",
    "LocalStorage",
    "S3Storage",
    "Storage",
    "address",
    "digest",
    "is_hash",
    "open_storage",
]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_storage(settings: Settings, *, patience_seconds: float = 60.0) -> Storage:
    """The storage that the settings name.

    Args:
        settings: of this process.
        patience_seconds: how long a request to an object store is tried again.

    Returns:
        A folder's, or a bucket's. Nothing is asked of a bucket yet.

    Raises:
        ValueError: if STILLHOUSE_STORAGE_URL is neither file:///… nor s3://bucket/prefix.
    """
    url = urlsplit(settings.storage_url or "")
    if settings.storage_url is None:
        return LocalStorage(
            settings.data_dir.resolve() / "storage", min_free_bytes=settings.min_free_bytes
        )
    if url.scheme == "file" and not url.netloc and len(url.path) > 1:
        return LocalStorage(
            Path(settings.storage_url.removeprefix("file://")),
            min_free_bytes=settings.min_free_bytes,
        )
    if url.scheme == "s3" and _BUCKET.fullmatch(url.netloc):
        return S3Storage(
            url.netloc,
            url.path.strip("/"),
            scratch=settings.data_dir.resolve(),
            cache_bytes=settings.cache_bytes,
            patience_seconds=patience_seconds,
            public_endpoint=settings.s3_public_endpoint,
        )
    message = (
        "STILLHOUSE_STORAGE_URL must be file:///folder or s3://bucket/prefix; "
        f"{settings.storage_url!r} is neither"
    )
    raise ValueError(message)
