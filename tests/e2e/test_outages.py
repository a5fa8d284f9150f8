"""PostgreSQL and Valkey come late, are killed, and come again: nothing is lost, all recovers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from stillhouse.client import Client
from tests import mortals, servers, waiting
from tests.e2e.conftest import job_spec, push
from tests.mortals import MortalPostgres, MortalValkey
from tests.servers import Service

SHORT = {"epochs": 1, "batch_size": 32, "deterministic": True}
LONG = {"epochs": 12, "batch_size": 16, "deterministic": True}


@dataclass(frozen=True, slots=True)
class Town:
    """A service, and the servers that it needs."""

    service: Service
    postgres: MortalPostgres
    valkey: MortalValkey


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """API and worker have been started; PostgreSQL and Valkey have not."""
    with mortals.postgres() as postgres:
        url = servers.fresh_postgres_database(postgres.url)
        postgres.kill()
        valkey = MortalValkey()
        service = Service(
            tmp_path_factory.mktemp("town"),
            database_url=url,
            broker_url=valkey.url,
            lease_seconds=6,
            heartbeat_seconds=1,
            poll_seconds=2,
            checkpoint_seconds=0.5,
        )
        service.start_worker()
        service.start_api()
        yield Town(service, postgres, valkey)
        service.stop()
        valkey.kill()


@pytest.fixture(scope="module")
def prepared(town: Town, material: Path) -> dict[str, str]:
    """A dataset and a teacher, uploaded as soon as the service is ready."""
    with Client(town.service.url) as client:
        return push(client, material)


def test_whatever_starts_first_waits_for_the_rest(
    town: Town, request: pytest.FixtureRequest
) -> None:
    url = town.service.url
    waiting.until(lambda: _answers(f"{url}/healthz"), seconds=60, what="the API's first word")
    assert httpx.get(f"{url}/readyz").status_code == 503
    refused = httpx.get(f"{url}/v1/jobs")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    town.valkey.start()
    town.postgres.start()
    town.service.wait_until_ready()
    spec = job_spec(request.getfixturevalue("prepared"), training=SHORT)
    with Client(url) as client:
        _succeed(client, client.submit(spec)["id"])


def test_a_database_that_is_killed_costs_some_503_and_no_job(
    town: Town, prepared: dict[str, str]
) -> None:
    with Client(town.service.url) as client:
        job = client.submit(job_spec(prepared, training=LONG))["id"]
        waiting.until(lambda: client.job(job)["progress"]["step"] > 5, what="some training")
        with _writing(town.service.url, job_spec(prepared, training=SHORT)) as answers:
            waiting.until(lambda: _statuses(answers) == {201}, what="the first jobs")
            town.postgres.kill()
            waiting.until(lambda: 503 in _statuses(answers), what="an outage")
            town.postgres.start()
            count = len(answers)
            waiting.until(lambda: 201 in _statuses(answers[count:]), what="an end of it")
        assert _statuses(answers) == {201, 503}
        assert all("retry-after" in each.headers for each in answers if each.status_code == 503)
        for each in answers:
            if each.status_code == 201:
                client.cancel(each.json()["id"])  # it's there
        _succeed(client, job)


def test_a_broker_that_is_killed_costs_a_delay_and_no_job(
    town: Town, prepared: dict[str, str]
) -> None:
    with Client(town.service.url) as client:
        spec = job_spec(prepared, training=SHORT)
        with _writing(town.service.url, spec) as answers:
            before = _listeners(town.valkey)
            assert before > 0
            town.valkey.kill()
            during = client.submit(spec)["id"]
            count = len(answers)
            waiting.until(lambda: len(answers) > count, what="another job")
            town.valkey.start()
            what = "a worker that listens again"
            waiting.until(lambda: _listeners(town.valkey) == before, what=what)
        assert _statuses(answers) == {201}
        for each in answers:
            client.cancel(each.json()["id"])
        _succeed(client, during)


def _listeners(valkey: MortalValkey) -> int:
    with redis.Redis.from_url(valkey.url) as broker:
        return int(broker.pubsub_numpat())


def _succeed(client: Client, job: str) -> None:
    ended = client.wait(job)
    assert ended["status"] == "succeeded", ended["error"]
    assert [event["type"] for event in client.events(job)].count("succeeded") == 1


@contextmanager
def _writing(url: str, spec: dict[str, Any]) -> Iterator[list[httpx.Response]]:
    """Submit jobs all the time, as somebody who never tries again; the answers."""
    answers: list[httpx.Response] = []
    enough = threading.Event()

    def submit() -> None:
        with httpx.Client(base_url=url, timeout=30) as http:
            while not enough.wait(0.2):
                answers.append(http.post("/v1/jobs", json=spec))

    writer = threading.Thread(target=submit)
    writer.start()
    try:
        yield answers
    finally:
        enough.set()
        writer.join()


def _statuses(answers: list[httpx.Response]) -> set[int]:
    return {each.status_code for each in answers}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False
