"""Two hosts that share a database, a broker and a bucket, and no folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from core.db import Database
from core.tables import Checkpoint, Run
from stillhouse.client import Client
from tests import servers, waiting
from tests.e2e.conftest import job_spec, push
from tests.object_store import ObjectStore
from tests.servers import Service

LONG = {"epochs": 6, "batch_size": 16, "deterministic": True}


@pytest.fixture
def service(
    tmp_path: Path, postgres_server: str, broker_url: str, bucket_url: str
) -> Iterator[Service]:
    (tmp_path / "api").mkdir()
    running = Service(
        tmp_path / "api",
        database_url=servers.fresh_postgres_database(postgres_server),
        broker_url=broker_url,
        storage_url=bucket_url,
        lease_seconds=4,
        heartbeat_seconds=0.5,
        poll_seconds=0.25,
        checkpoint_seconds=0.2,
    )
    yield running
    running.stop()


def test_a_run_lost_on_one_host_goes_on_on_another_over_a_store_that_fails(
    service: Service, s3: ObjectStore, material: Path, tmp_path: Path
) -> None:
    service.start_api()
    service.wait_until_ready()
    first = service.start_worker(tmp_path / "host-1")
    s3.fails_every = 10
    with Client(service.url) as client:
        spec = job_spec(push(client, material), training=LONG, controls=[])
        undisturbed = client.wait(client.submit(spec)["id"])
        assert undisturbed["status"] == "succeeded", undisturbed["error"]

        hurt = client.submit(spec)["id"]
        wait_for_checkpoint(service, hurt)
        service.start_worker(tmp_path / "host-2")
        first.kill()
        ended = client.wait(hurt)
        assert ended["status"] == "succeeded", ended["error"]
        types = [event["type"] for event in client.events(hurt)]
        assert "run_lost" in types
        assert "run_resumed" in types
        assert "checkpoint_not_kept" not in types
        assert weights(client, hurt) == weights(client, undisturbed["id"])
        student = next(client.students(hurt))
        folder = client.download(student["id"], tmp_path / "student")
    assert s3.failed >= 5
    for file in student["files"]:
        assert hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    service.stop()
    for host in ("host-1", "host-2"):
        assert list((tmp_path / host / "cache").glob("??/*")), "each host keeps what it needed"
    assert list((tmp_path / "host-2" / "work").iterdir()) == []


def wait_for_checkpoint(service: Service, job: str) -> None:
    database = Database(service.database_url)

    def look() -> bool:
        with database.read() as session:
            query = select(Checkpoint.step).join(Run, Run.id == Checkpoint.run)
            return session.scalar(query.where(Run.job == job).limit(1)) is not None

    try:
        waiting.until(look, what="a checkpoint")
    finally:
        database.close()


def weights(client: Client, job: str) -> list[str]:
    return [
        file["sha256"]
        for student in client.students(job)
        for file in student["files"]
        if file["path"] == "model.safetensors"
    ]
