import asyncio
import threading
import time
from typing import Any

import httpx
from starlette.testclient import TestClient

from tests import stage as stage_module
from tests.stage import Stage

WAIT = {"prefer": "wait=20"}


def later(work: Any, *arguments: Any) -> threading.Timer:
    timer = threading.Timer(0.4, work, arguments)
    timer.start()
    return timer


def test_a_read_waits_for_a_change_from_its_etag(client: TestClient, stage: Stage) -> None:
    path = f"/v1/jobs/{stage.job()}"
    tag = client.get(path).headers["etag"]
    timer = later(stage.take)
    response = client.get(path, headers=WAIT | {"if-none-match": tag})
    timer.join()
    assert (response.status_code, response.json()["status"]) == (200, "preparing")


def test_a_read_with_an_old_etag_answers_at_once(client: TestClient, stage: Stage) -> None:
    path = f"/v1/jobs/{stage.job()}"
    tag = client.get(path).headers["etag"]
    stage.take()
    before = time.monotonic()
    response = client.get(path, headers=WAIT | {"if-none-match": tag})
    assert (response.status_code, time.monotonic() - before < 5) == (200, True)


def test_a_read_without_an_etag_waits_for_the_end(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    lease = stage.take()
    stage.cancel(job)
    timer = later(stage.end_well, lease)
    response = client.get(f"/v1/jobs/{job}", headers=WAIT)
    timer.join()
    assert response.json()["status"] == "cancelled"


def test_a_wait_ends_after_its_seconds(client: TestClient, stage: Stage) -> None:
    path = f"/v1/jobs/{stage.job()}"
    tag = client.get(path).headers["etag"]
    before = time.monotonic()
    response = client.get(path, headers={"prefer": "wait=1", "if-none-match": tag})
    assert response.status_code == 304
    assert 0.9 < time.monotonic() - before < 6
    assert client.get(path, headers={"prefer": "respond-async, wait=0"}).status_code == 200


def test_teachers_and_datasets_are_waited_for(client: TestClient, stage: Stage) -> None:
    made = stage.validating_teacher()
    lease = stage.take()
    timer = later(stage.end_well, lease)
    assert client.get(f"/v1/teachers/{made}", headers=WAIT).json()["status"] == "ready"
    timer.join()
    made = stage.validating_dataset()
    timer = later(stage.fail, stage.take())
    assert client.get(f"/v1/datasets/{made}", headers=WAIT).json()["status"] == "rejected"
    timer.join()


def test_what_is_deleted_meanwhile_is_not_found(client: TestClient, stage: Stage) -> None:
    made = stage.validating_teacher()
    with TestClient(client.app) as other:
        timer = later(other.delete, f"/v1/teachers/{made}")
        assert client.get(f"/v1/teachers/{made}", headers=WAIT).status_code == 404
        timer.join()


def test_a_submission_waits_for_the_end_of_its_job(client: TestClient, stage: Stage) -> None:
    spec = stage_module.job_spec(stage.teacher(), stage.dataset())
    timer = later(stage.play)
    response = client.post("/v1/jobs", json=spec, headers=WAIT)
    timer.join()
    assert (response.status_code, response.json()["status"]) == (201, "succeeded")


def test_waiting_requests_hold_no_thread(live_url: str, stage: Stage) -> None:
    path = f"{live_url}/v1/jobs/{stage.job()}"

    async def walk() -> tuple[float, list[httpx.Response]]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            tag = (await client.get(path)).headers["etag"]
            headers = {"prefer": "wait=30", "if-none-match": tag}
            waiting = [asyncio.create_task(client.get(path, headers=headers)) for _ in range(60)]
            done, _ = await asyncio.wait(waiting, timeout=1.0)
            assert not done
            before = time.monotonic()
            assert (await client.get(path)).status_code == 200
            taken = time.monotonic() - before
            await asyncio.to_thread(stage.take)
            return taken, await asyncio.gather(*waiting)

    taken, answers = asyncio.run(walk())
    assert taken < 1.0
    assert {answer.json()["status"] for answer in answers} == {"preparing"}
