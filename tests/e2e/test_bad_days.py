"""Kill -9, stops, cancels and a dead broker: the job ends by itself, once, with the same bytes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.db import Database
from core.tables import Checkpoint, Run
from stillhouse.client import Client
from tests import servers, waiting
from tests.e2e.conftest import job_spec, push
from tests.servers import Service

Start = Callable[..., Service]

LONG = {"epochs": 12, "batch_size": 16, "deterministic": True}


def test_a_killed_trainer_and_a_killed_service_change_no_byte(
    lone_service: Start, material: Path
) -> None:
    service = lone_service()
    with Client(service.url) as client:
        spec = job_spec(push(client, material), training=LONG, controls=[])
        undisturbed = client.wait(client.submit(spec)["id"])
        assert undisturbed["status"] == "succeeded", undisturbed["error"]

        hurt = client.submit(spec)["id"]
        _wait_for_checkpoint(service, client, hurt)
        for trainer in service.descendants("worker.trainer"):
            os.kill(trainer, signal.SIGKILL)
        ended = client.wait(hurt)
        assert ended["status"] == "succeeded", ended["error"]
        types = [event["type"] for event in client.events(hurt)]
        assert "run_lost" in types
        assert "run_resumed" in types
        assert _hashes(client, hurt) == _hashes(client, undisturbed["id"])

        cut = client.submit(spec)["id"]
        _wait_for_checkpoint(service, client, cut)
    service.kill()
    waiting.until(lambda: not service.descendants("worker.trainer"), what="the trainer's end")
    service.start()
    with Client(service.url) as client:
        ended = client.wait(cut)
        assert ended["status"] == "succeeded", ended["error"]
        assert _hashes(client, cut) == _hashes(client, undisturbed["id"])
        assert len(list(client.students(cut))) == 1
        assert [event["type"] for event in client.events(cut)].count("succeeded") == 1


def test_a_stopped_worker_gives_its_run_back_with_a_checkpoint(
    lone_service: Start, material: Path
) -> None:
    service = lone_service(checkpoint_seconds=600)
    with Client(service.url) as client:
        job = client.submit(job_spec(push(client, material), training=LONG, controls=[]))["id"]
        waiting.until(lambda: client.job(job)["progress"]["step"] > 30, what="some training")
    service.stop()
    service.start()
    with Client(service.url) as client:
        assert client.wait(job)["status"] == "succeeded"
        types = [event["type"] for event in client.events(job)]
    assert "run_requeued" in types
    assert "run_resumed" in types
    assert "run_lost" not in types


def test_a_cancel_ends_the_trainer_and_leaves_no_student(
    lone_service: Start, material: Path
) -> None:
    service = lone_service()
    with Client(service.url) as client:
        training = {"epochs": 2_000, "batch_size": 16}
        job = client.submit(job_spec(push(client, material), training=training))["id"]
        waiting.until(lambda: client.job(job)["progress"]["step"] > 5, what="some training")
        # An upload is looked at beside the training, however long that takes.
        beside = client.create_dataset(
            {"name": "beside", "source": {"blob": client.put_blob(material / "digits.npz")}}
        )
        assert client.wait_ready(beside["id"])["status"] == "ready"
        assert client.job(job)["status"] == "running"
        before = service.descendants("worker.trainer")
        assert client.cancel(job)["status"] in ("cancelling", "cancelled")
        ended = client.wait(job)
        assert ended["status"] == "cancelled"
        assert list(client.students(job)) == []
        assert not set(before) & set(service.descendants("worker.trainer"))
        assert {run["status"] for run in client.runs(job)} == {"cancelled", "succeeded"}


def test_a_job_fails_when_its_time_is_over(lone_service: Start, material: Path) -> None:
    with Client(lone_service().url) as client:
        spec = job_spec(
            push(client, material),
            training={"epochs": 2_000, "batch_size": 16},
            limits={"seconds": 4},
        )
        ended = client.wait(client.submit(spec)["id"])
    assert ended["status"] == "failed"
    assert ended["error"]["code"] == "time_limit"
    assert ended["error"]["field"] == "limits.seconds"


def test_a_dead_broker_costs_a_delay_and_nothing_else(
    tmp_path: Path, material: Path, postgres_server: str
) -> None:
    with servers.valkey() as broker:
        service = Service(
            tmp_path,
            database_url=servers.fresh_postgres_database(postgres_server),
            broker_url=broker,
            poll_seconds=1,
        )
        service.start()
        with Client(service.url) as client:
            prepared = push(client, material)
    with Client(service.url) as client:  # the broker is gone now
        ended = client.wait(client.submit(job_spec(prepared, controls=[]))["id"])
        assert ended["status"] == "succeeded", ended["error"]
    service.stop()


def test_a_stopped_service_leaves_no_process(lone_service: Start) -> None:
    service = lone_service()
    waiting.until(lambda: service.descendants("worker.trainer"), what="a warm trainer")
    service.stop()
    for module in ("app", "worker.main", "worker.trainer", "worker.intake"):
        assert service.descendants(module) == []


@pytest.mark.parametrize(
    ("student", "code"),
    [
        ({"family": "timm", "name": "no_such_network"}, "unknown_network"),
        (
            {"family": "builtin", "name": "resnet8", "options": {"num_classes": 3}},
            "class_count_differs",
        ),
    ],
)
def test_what_needs_a_network_fails_in_preparing_before_any_training(
    client: Client, prepared: dict[str, str], student: dict[str, Any], code: str
) -> None:
    spec = job_spec(prepared, students=[{"name": "s", "network": student}])
    ended = client.wait(client.submit(spec)["id"])
    assert ended["status"] == "failed"
    assert ended["error"]["code"] == code
    assert ended["progress"]["step"] == 0
    assert list(client.students(ended["id"])) == []


def _wait_for_checkpoint(service: Service, client: Client, job: str) -> None:
    database = Database(service.database_url)

    def look() -> bool:
        with database.read() as session:
            query = select(Checkpoint.step).join(Run, Run.id == Checkpoint.run)
            return session.scalar(query.where(Run.job == job).limit(1)) is not None

    try:
        waiting.until(look, what="a checkpoint")
    finally:
        database.close()
    assert client.job(job)["status"] == "running"


def _hashes(client: Client, job: str) -> list[str]:
    return [
        file["sha256"]
        for student in client.students(job)
        for file in student["files"]
        if file["path"] == "model.safetensors"
    ]
