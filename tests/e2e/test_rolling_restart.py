"""Workers that are stopped and started again, one after the other, under a queue of jobs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from core.db import Database
from core.tables import Run
from stillhouse.client import Client
from tests import servers, waiting
from tests.e2e.conftest import job_spec, push
from tests.servers import Service

JOBS = 3
TRAINING = {"epochs": 6, "batch_size": 16}
STOP_SECONDS = 60.0


@pytest.fixture
def cluster(tmp_path: Path, postgres_server: str, broker_url: str) -> Iterator[Service]:
    """An API and two workers, who look into SQL by themselves once in ten minutes only."""
    service = Service(
        tmp_path,
        database_url=servers.fresh_postgres_database(postgres_server),
        broker_url=broker_url,
        poll_seconds=600,
    )
    service.start()
    service.start_worker()
    yield service
    service.stop()


def test_a_rolling_restart_loses_nothing_and_what_is_given_back_is_taken_at_once(
    cluster: Service, material: Path
) -> None:
    before = cluster.descendants("worker.main")
    with Client(cluster.url) as client:
        prepared = push(client, material)
        waiting.until(lambda: len(_live(client)) == 2, what="two workers")
        spec = job_spec(prepared, training=TRAINING, controls=[])
        made = [client.submit(spec)["id"] for _ in range(JOBS)]
        waiting.until(lambda: _trained(cluster) == 2, what="training on both")
        for worker in before:
            waiting.until(lambda: _trained(cluster), what="training")
            _stop(cluster, worker)
            cluster.start_worker()
        ends = [client.wait(job) for job in made]
        assert [job["status"] for job in ends] == ["succeeded"] * JOBS
        events = [event["type"] for job in made for event in client.events(job)]
        assert "run_requeued" in events
        assert events.count("succeeded") == JOBS
        assert "run_lost" not in events
        assert all(len(list(client.students(job))) == 1 for job in made)


def _stop(service: Service, worker: int) -> None:
    os.kill(worker, signal.SIGTERM)
    waiting.until(
        lambda: worker not in service.descendants("worker.main"),
        seconds=STOP_SECONDS,
        what="its end",
    )


def _live(client: Client) -> list[dict[str, Any]]:
    return [worker for worker in client.workers() if worker["status"] != "lost"]


def _trained(service: Service) -> int:
    """How many training runs have begun and are at work."""
    database = Database(service.database_url)
    try:
        with database.read() as session:
            query = select(func.count()).where(
                Run.kind == "train", Run.status == "running", Run.step > 0
            )
            return session.scalar(query) or 0
    finally:
        database.close()
