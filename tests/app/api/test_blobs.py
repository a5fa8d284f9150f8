import hashlib
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from core import files
from core.settings import Settings
from core.tables import File, FileUse
from tests import waiting
from tests.stage import NETWORK, Stage

CONTENT = os.urandom(5 * 1024 * 1024 + 3)
SHA = hashlib.sha256(CONTENT).hexdigest()
EMPTY = hashlib.sha256(b"").hexdigest()


def stored(settings: Settings) -> list[Path]:
    return [path for path in (settings.data_dir / "storage").rglob("*") if path.is_file()]


def test_bytes_are_sent_once(client: TestClient, settings: Settings) -> None:
    assert client.head(f"/v1/blobs/{SHA}").status_code == 404
    response = client.put(f"/v1/blobs/{SHA}", content=CONTENT)
    assert response.status_code == 201
    assert response.json() == {"object": "blob", "sha256": SHA}
    assert client.head(f"/v1/blobs/{SHA}").status_code == 200
    assert client.put(f"/v1/blobs/{SHA}", content=CONTENT).status_code == 200
    assert [path.read_bytes() for path in stored(settings) if path.name == SHA] == [CONTENT]


def test_an_empty_blob_is_a_blob(client: TestClient) -> None:
    assert client.put(f"/v1/blobs/{EMPTY}").status_code == 201
    assert client.head(f"/v1/blobs/{EMPTY}").status_code == 200


def test_another_digest_keeps_nothing(client: TestClient, settings: Settings, stage: Stage) -> None:
    response = client.put(f"/v1/blobs/{SHA}", content=CONTENT[:-1])
    assert response.status_code == 422
    assert response.json()["code"] == "digest_mismatch"
    assert client.head(f"/v1/blobs/{SHA}").status_code == 404
    assert [path for path in stored(settings) if path.suffix != ".db"] == []
    with stage.database.read() as session:
        assert session.query(File).all() == []


@pytest.mark.parametrize("name", ["x", SHA.upper(), SHA[:-1], SHA + "0"])
def test_an_address_that_is_no_digest_is_refused(client: TestClient, name: str) -> None:
    response = client.put(f"/v1/blobs/{name}", content=b"x")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


def test_a_blob_that_is_too_large_is_refused_announced_or_not(
    client: TestClient, settings: Settings
) -> None:
    large = b"x" * (settings.max_upload_bytes + 1)
    assert client.put(f"/v1/blobs/{SHA}", content=large).status_code == 413
    pieces = iter([large[:-1], b"xx"])
    response = client.put(f"/v1/blobs/{SHA}", content=pieces)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert [path for path in stored(settings) if path.suffix != ".db"] == []


def test_a_full_disk_answers_507(settings: Settings) -> None:
    full = settings.model_copy(update={"min_free_bytes": 2**62})
    with TestClient(create_app(full)) as client:
        response = client.put(f"/v1/blobs/{SHA}", content=CONTENT)
    assert (response.status_code, response.json()["code"]) == (507, "storage_full")


def test_a_tenant_does_not_see_anothers_bytes(client: TestClient, stage: Stage) -> None:
    sha256 = stage.upload(CONTENT, tenant="other")
    assert client.head(f"/v1/blobs/{sha256}").status_code == 404
    assert client.delete(f"/v1/blobs/{sha256}").status_code == 404
    spec = {"name": "t", "network": NETWORK, "weights": {"blob": sha256}}
    response = client.post("/v1/teachers", json=spec)
    assert (response.status_code, response.json()["code"]) == (422, "not_found")
    assert client.put(f"/v1/blobs/{sha256}", content=CONTENT).status_code == 201


def test_a_blob_that_is_named_is_in_use(client: TestClient) -> None:
    client.put(f"/v1/blobs/{SHA}", content=CONTENT)
    spec = {"name": "d", "source": {"blob": SHA}}
    made = client.post("/v1/datasets", json=spec).json()["id"]
    response = client.delete(f"/v1/blobs/{SHA}")
    assert (response.status_code, response.json()["code"]) == (409, "in_use")
    assert response.json()["used_by"] == [made]
    assert response.headers["x-should-retry"] == "false"
    assert client.delete(f"/v1/datasets/{made}").status_code == 204
    assert client.delete(f"/v1/blobs/{SHA}").status_code == 204
    assert client.delete(f"/v1/blobs/{SHA}").status_code == 404
    assert client.head(f"/v1/blobs/{SHA}").status_code == 404


def test_a_deleted_upload_is_collected_with_its_conversion(
    client: TestClient, stage: Stage
) -> None:
    teacher = stage.teacher()
    original = client.get(f"/v1/teachers/{teacher}").json()["weights"]["blob"]
    assert client.delete(f"/v1/teachers/{teacher}").status_code == 204
    assert client.put(f"/v1/blobs/{original}", content=b"not looked at").status_code == 200
    assert client.delete(f"/v1/blobs/{original}").status_code == 204
    with stage.database.read() as session:
        assert session.query(FileUse).all() == []
    assert len(stage.write(files.collect, untouched_since=time.time() + 99)) == 2


def test_a_known_blob_whose_bytes_are_gone_is_received_again(
    client: TestClient, stage: Stage
) -> None:
    client.put(f"/v1/blobs/{SHA}", content=CONTENT)
    stage.storage.delete(SHA)
    assert client.put(f"/v1/blobs/{SHA}", content=CONTENT).status_code == 201
    assert stage.storage.has(SHA)


def test_a_connection_that_is_cut_keeps_nothing(live_url: str, settings: Settings) -> None:
    address, arriving = urlsplit(live_url), settings.data_dir / "storage" / "tmp"
    head = f"PUT /v1/blobs/{SHA} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as sent:
        sent.sendall(head.encode() + CONTENT[:-100])
        waiting.until(lambda: any(arriving.iterdir()), what="the upload's file")
    waiting.until(lambda: not any(arriving.iterdir()), what="the cleaning up")
    assert httpx.head(f"{live_url}/v1/blobs/{SHA}").status_code == 404
    assert httpx.put(f"{live_url}/v1/blobs/{SHA}", content=CONTENT).status_code == 201
