import threading
from typing import Any

import httpx
from starlette.testclient import TestClient

from tests import stage as stage_module
from tests.stage import NETWORK, Stage

KEY = {"idempotency-key": "k1"}


def test_the_same_key_and_body_give_the_same_job(client: TestClient, stage: Stage) -> None:
    spec = stage_module.job_spec(stage.teacher(), stage.dataset())
    first = client.post("/v1/jobs", json=spec, headers=KEY)
    again = client.post("/v1/jobs", json=spec, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_another_body_under_the_same_key_is_refused(client: TestClient, stage: Stage) -> None:
    spec = stage_module.job_spec(stage.teacher(), stage.dataset())
    client.post("/v1/jobs", json=spec, headers=KEY)
    response = client.post("/v1/jobs", json=spec | {"seeds": 2}, headers=KEY)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_a_refused_request_uses_no_key_up(client: TestClient, stage: Stage) -> None:
    spec = stage_module.job_spec(stage.teacher(), stage.dataset())
    assert client.post("/v1/jobs", json=spec | {"seeds": 0}, headers=KEY).status_code == 422
    assert client.post("/v1/jobs", json=spec, headers=KEY).status_code == 201


def test_teachers_and_datasets_take_keys_of_their_own(client: TestClient, stage: Stage) -> None:
    blob = {"blob": stage.upload(b"bytes")}
    teacher = {"name": "t", "network": NETWORK, "weights": blob}
    for path, spec in (("teachers", teacher), ("datasets", {"name": "d", "source": blob})):
        first, again = (client.post(f"/v1/{path}", json=spec, headers=KEY) for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json()["id"] == again.json()["id"]
        assert again.headers["idempotency-replayed"] == "true"


def test_requests_at_once_with_one_key_make_one_job(live_url: str, stage: Stage) -> None:
    spec = stage_module.job_spec(stage.teacher(), stage.dataset())
    gate, answers = threading.Barrier(8), list[Any]()

    def send() -> None:
        gate.wait()
        answers.append(httpx.post(f"{live_url}/v1/jobs", json=spec, headers=KEY, timeout=30))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7
    assert len(httpx.get(f"{live_url}/v1/jobs").json()["data"]) == 1


def test_a_job_that_is_sent_twice_has_its_teacher_trained_once(
    client: TestClient, stage: Stage
) -> None:
    teacher = {"train": {"network": NETWORK}}
    spec = stage_module.job_spec("", stage.dataset()) | {"teachers": [teacher]}
    made = [client.post("/v1/jobs", json=spec, headers=KEY) for _ in range(2)]
    assert [response.status_code for response in made] == [201, 201]
    (found,) = client.get("/v1/teachers").json()["data"]
    assert (found["status"], found["name"]) == ("training", "job-teacher")
    assert len(client.get("/v1/jobs").json()["data"]) == 2
    waiting = client.get(f"/v1/jobs/{made[0].json()['id']}").json()["waiting"]
    assert f"its teacher {found['id']} has been trained" in waiting["message"]
