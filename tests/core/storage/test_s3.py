"""A bucket: what others see in it, whose words are spoken, and how it fails."""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx
import pytest

from core.settings import Settings
from core.storage import Storage, open_storage
from stillhouse.errors import Unavailable
from tests import servers
from tests.core.storage.conftest import CONTENT, SHA, everything, open_bucket, put
from tests.object_store import KEY, SECRET, ObjectStore


@pytest.fixture
def bucket(bucket_url: str) -> str:
    return bucket_url.split("/")[2]


@pytest.fixture
def storage(bucket_url: str, tmp_path: Path) -> Storage:
    return open_bucket(tmp_path, bucket_url)


def test_the_reference_client_reads_what_is_put_and_what_is_signed(
    storage: Storage, s3: ObjectStore, bucket: str
) -> None:
    put(storage)
    key = f"some/prefix/files/{SHA[:2]}/{SHA}"
    assert s3.keys(bucket) == [key]
    assert s3.client().get_object(Bucket=bucket, Key=key)["Body"].read() == CONTENT
    link = storage.link(SHA, seconds=60)
    assert link is not None
    answer = httpx.get(link, headers={"Range": "bytes=5-9"})
    assert (answer.status_code, answer.content) == (206, CONTENT[5:10])
    assert SECRET not in link


def test_a_link_names_the_address_that_users_reach(bucket_url: str, tmp_path: Path) -> None:
    public = "https://files.example.org"
    storage = open_bucket(tmp_path, bucket_url, s3_public_endpoint=public)
    link = storage.link(SHA, seconds=60)
    assert link is not None
    assert link.startswith(f"{public}/{bucket_url.split('/')[2]}/some/prefix/files/")


def test_what_is_not_kept_leaves_no_parts(storage: Storage, s3: ObjectStore, bucket: str) -> None:
    with contextlib.closing(storage.receive(SHA)) as incoming:
        incoming.write([CONTENT])
        assert len(s3.uploads(bucket)) == 1
    assert s3.uploads(bucket) == []
    assert s3.keys(bucket) == []


def test_credentials_come_from_a_file(
    bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "")  # none, as compose files pass on what isn't set
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = 50%\n")
    storage = open_bucket(tmp_path, bucket_url)
    assert f"X-Amz-Credential={KEY}" in (storage.link(SHA, seconds=60) or "")
    put(storage)
    file.write_text("[other]\n")
    with pytest.raises(ValueError, match="must have a section"):
        open_bucket(tmp_path, bucket_url)


def test_a_bucket_that_is_not_there_is_named(bucket_url: str, tmp_path: Path) -> None:
    storage = open_storage(Settings(data_dir=tmp_path, storage_url=bucket_url))
    for attempt in (
        storage.check,
        lambda: storage.has(SHA),
        lambda: put(storage),
        lambda: storage.fetch(SHA, tmp_path / "inputs"),
    ):
        with pytest.raises(Unavailable, match="has no bucket"):
            attempt()
    storage.prepare()
    storage.check()


def test_a_store_that_is_away_says_so_soon(
    s3: ObjectStore, bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del s3
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
    settings = Settings(data_dir=tmp_path, storage_url=bucket_url)
    storage = open_storage(settings, patience_seconds=0.5)
    with pytest.raises(Unavailable, match="is away; try again"):
        storage.has(SHA)
    with pytest.raises(Unavailable, match="is away; try again"):
        put(storage)


def test_one_request_in_four_fails_and_nobody_notices(
    storage: Storage, s3: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    s3.fails_every = 4
    put(storage)
    made = tmp_path / "work" / "made"
    made.parent.mkdir()
    made.write_bytes(CONTENT[::-1])
    for number in range(8):
        small = put(storage, bytes([number]))
        assert storage.has(small)
        folder = tmp_path / f"inputs{number}"
        other = open_bucket(tmp_path / str(number), f"s3://{bucket}/some/prefix")
        other.fetch(SHA, folder)
        assert other.place(SHA, folder).read_bytes() == CONTENT
    assert len(everything(storage)) == 9
    storage.delete(SHA)
    assert not storage.has(SHA)
    assert s3.failed >= 9
    s3.fails_every = None
    assert s3.uploads(bucket) == []


def test_a_store_that_fails_for_good_is_said_to_be_away_however_small_the_file(
    s3: ObjectStore, bucket_url: str, tmp_path: Path
) -> None:
    """The writer of a small file says so with a bare OSError when it's closed."""
    settings = Settings(data_dir=tmp_path, storage_url=bucket_url)
    storage = open_storage(settings, patience_seconds=0.5)
    storage.prepare()
    s3.fails_every = 1
    with pytest.raises(Unavailable, match="is away; try again"):
        put(storage, b"small")
    s3.fails_every = None
    assert put(storage, b"small")
