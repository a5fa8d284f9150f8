"""A storage of each kind, and content to put into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import pytest

from core.settings import Settings
from core.storage import Storage, open_storage

CONTENT = os.urandom(9 * 1024 * 1024 + 17)  # in S3 that is two parts
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return open_storage(Settings(data_dir=tmp_path))
    return open_bucket(tmp_path, request.getfixturevalue("bucket_url"))


def open_bucket(data_dir: Path, url: str, **settings: object) -> Storage:
    """A bucket's storage, made if it isn't there, as a host with this folder opens it."""
    opened = open_storage(
        Settings.model_validate({"data_dir": data_dir, "storage_url": url} | settings),
        patience_seconds=5,
    )
    opened.prepare()
    return opened


def put(storage: Storage, content: bytes = CONTENT) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    with contextlib.closing(storage.receive(sha256, len(content))) as incoming:
        incoming.write([content])
        incoming.keep()
    return sha256


def everything(storage: Storage) -> list[str]:
    return [name for batch in storage.names() for name in batch]
