"""The API over a bucket: bytes go in through it, and come out past it."""

from __future__ import annotations

import os
import socket
import tarfile
import threading
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from core import students
from core.settings import Settings
from core.storage import open_storage
from core.tables import Student
from stillhouse.client import Client
from tests import stage as stage_module
from tests import waiting
from tests.object_store import ObjectStore
from tests.stage import Stage

CONTENT = os.urandom(9 * 1024 * 1024 + 5)
SHA = stage_module.sha256(CONTENT)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def settings(settings: Settings, bucket_url: str) -> Settings:
    changed = {"storage_url": bucket_url, "max_upload_bytes": 16 * 1024 * 1024}
    found = settings.model_copy(update=changed)
    open_storage(found).prepare()
    return found


@pytest.fixture
def bucket(settings: Settings) -> str:
    return str(settings.storage_url).split("/")[2]


@pytest.fixture
def streaming(settings: Settings) -> Iterator[TestClient]:
    """A service that lets nobody near its bucket."""
    with TestClient(create_app(settings.model_copy(update={"downloads": "stream"}))) as opened:
        yield opened


@pytest.fixture
def student(stage: Stage) -> Student:
    job = stage.job(controls=[])
    stage.play()
    with stage.database.read() as session:
        return students.of_job(session, job)[0]


@pytest.fixture
def weights(student: Student) -> str:
    return f"/v1/students/{student.id}/files/model.safetensors"


@pytest.fixture
def content(student: Student, stage: Stage) -> bytes:
    file = next(item for item in student.files if item["path"] == "model.safetensors")
    return b"".join(stage.storage.read(file["sha256"], 0, file["bytes"]))


def test_an_upload_is_in_the_bucket_and_is_sent_once(
    client: TestClient, s3: ObjectStore, bucket: str
) -> None:
    assert client.put(f"/v1/blobs/{SHA}", content=CONTENT).status_code == 201
    assert client.head(f"/v1/blobs/{SHA}").status_code == 200
    assert s3.keys(bucket) == [f"some/prefix/files/{SHA[:2]}/{SHA}"]
    assert client.put(f"/v1/blobs/{SHA}", content=CONTENT).status_code == 200


def test_an_upload_of_other_bytes_leaves_nothing(
    client: TestClient, s3: ObjectStore, bucket: str
) -> None:
    response = client.put(f"/v1/blobs/{SHA}", content=CONTENT[:-1])
    assert (response.status_code, response.json()["code"]) == (422, "digest_mismatch")
    assert (s3.keys(bucket), s3.uploads(bucket)) == ([], [])
    assert client.head(f"/v1/blobs/{SHA}").status_code == 404


def test_an_upload_that_breaks_off_leaves_no_parts(
    live_url: str, s3: ObjectStore, bucket: str
) -> None:
    address = httpx.URL(live_url)
    with socket.create_connection((address.host, address.port or 80)) as connection:
        head = f"PUT /v1/blobs/{SHA} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
        connection.sendall(head.encode() + CONTENT[:-1])
        waiting.until(lambda: s3.uploads(bucket), what="the upload's parts")
    waiting.until(lambda: not s3.uploads(bucket), what="the cleaning up")
    assert s3.keys(bucket) == []


def test_a_bucket_that_is_gone_is_no_fault_of_ours(
    client: TestClient, s3: ObjectStore, bucket: str
) -> None:
    boto = s3.client()
    for key in s3.keys(bucket):
        boto.delete_object(Bucket=bucket, Key=key)
    boto.delete_bucket(Bucket=bucket)
    response = client.put(f"/v1/blobs/{SHA}", content=CONTENT)
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert "has no bucket" in response.json()["detail"]
    assert "retry-after" in response.headers
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "has no bucket" in ready.text


def test_a_service_makes_its_bucket(settings: Settings, s3: ObjectStore) -> None:
    url = f"s3://b{uuid.uuid4().hex}"
    with TestClient(create_app(settings.model_copy(update={"storage_url": url}))) as client:
        waiting.until(lambda: client.get("/readyz").status_code == 200, what="readiness")
        assert client.put(f"/v1/blobs/{SHA}", content=CONTENT).status_code == 201
    assert f"files/{SHA[:2]}/{SHA}" in s3.keys(url.removeprefix("s3://"))


def test_a_download_is_a_link_to_the_bucket(
    client: TestClient, student: Student, weights: str, content: bytes
) -> None:
    response = client.get(weights, follow_redirects=False)
    assert (response.status_code, response.content) == (307, b"")
    listed = next(item for item in student.files if item["path"] == "model.safetensors")
    assert response.headers["etag"] == f'"{listed["sha256"]}"'
    assert response.headers["cache-control"] == "no-store"
    assert "X-Amz-Expires=900" in response.headers["location"]
    assert httpx.get(response.headers["location"]).content == content


def test_what_the_books_know_is_not_asked_of_the_bucket(
    client: TestClient, s3: ObjectStore, weights: str, content: bytes
) -> None:
    s3.asked.clear()
    head = client.head(weights)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))
    known = client.get(weights, headers={"if-none-match": head.headers["etag"]})
    assert known.status_code == 304
    outside = client.get(weights, headers={"range": "bytes=999999-"})
    assert outside.status_code == 416
    assert s3.asked == []


def test_a_service_that_streams_shows_no_link(
    streaming: TestClient, weights: str, content: bytes
) -> None:
    whole = streaming.get(weights, follow_redirects=False)
    assert (whole.status_code, whole.content) == (200, content)
    part = streaming.get(weights, headers={"range": "bytes=2-5"}, follow_redirects=False)
    assert (part.status_code, part.content) == (206, content[2:6])


def test_a_streamed_file_that_is_gone_is_not_found(
    streaming: TestClient, stage: Stage, student: Student, weights: str
) -> None:
    stage.storage.delete(*(item["sha256"] for item in student.files))
    assert streaming.get(weights).status_code == 404


def test_an_archive_comes_through_the_service(client: TestClient, student: Student) -> None:
    response = client.get(f"/v1/students/{student.id}/archive", follow_redirects=False)
    assert response.status_code == 200
    with tarfile.open(fileobj=BytesIO(response.content)) as archive:
        sizes = {item.name.partition("/")[2]: item.size for item in archive}
    assert sizes == {item["path"]: item["bytes"] for item in student.files}


def test_the_client_follows_the_link_and_checks_what_it_got(
    live_url: str,
    student: Student,
    content: bytes,
    s3: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("student")
    (folder / "model.safetensors.part").write_bytes(content[:5])  # it broke off before
    s3.fails_every = 5
    with Client(live_url, key="a-secret") as client:
        client.download(student.id, folder)
    for item in student.files:
        assert stage_module.sha256((folder / item["path"]).read_bytes()) == item["sha256"]


def test_uploads_and_downloads_succeed_with_a_store_that_fails(
    live_url: str, s3: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("uploads")
    files = [folder / str(number) for number in range(8)]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 100)
    files[0].write_bytes(CONTENT)
    s3.fails_every = 3
    sent: list[str] = []

    def send(file: Path) -> None:
        with Client(live_url) as client:
            sent.append(client.put_blob(file))

    threads = [threading.Thread(target=send, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == sorted(stage_module.sha256(file.read_bytes()) for file in files)
    assert s3.failed >= 8
