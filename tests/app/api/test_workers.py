from __future__ import annotations

from starlette.testclient import TestClient

from core import workers
from core.tables import Worker
from tests.stage import Stage


def test_workers_are_shown_with_what_they_do(client: TestClient, stage: Stage) -> None:
    made = stage.worker()
    stage.write(workers.seen, made, status="busy", run="run_1")
    shown = client.get("/v1/workers").json()["data"]
    assert [(item["status"], item["run"], item["version"]) for item in shown] == [
        ("busy", "run_1", "1.2")
    ]
    with stage.database.write() as session:
        session.get_one(Worker, made).last_seen_at -= 3600
    shown = client.get("/v1/workers").json()["data"][0]
    assert (shown["status"], shown["last_seen_at"]) == ("lost", None)  # an hour ago it wasn't there
    stage.write(workers.leave, made)
    assert client.get("/v1/workers").json()["data"] == []


def test_a_worker_is_drained_and_taken_back(client: TestClient, stage: Stage) -> None:
    made = stage.worker()
    address = f"/v1/workers/{made}/drain"
    for _ in range(2):
        response = client.post(address)
        assert response.status_code == 202
        shown = response.json()
        assert (shown["id"], shown["kind"]) == (made, "cpu")
        assert (shown["status"], shown["draining"]) == ("draining", True)
    assert client.get("/v1/workers").json()["data"] == [shown]
    response = client.delete(address)
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["draining"]) == ("ready", False)


def test_a_lost_worker_may_be_drained_and_an_unknown_one_not(
    client: TestClient, stage: Stage
) -> None:
    made = stage.worker()
    with stage.database.write() as session:
        session.get_one(Worker, made).last_seen_at -= 3600
    shown = client.post(f"/v1/workers/{made}/drain").json()
    assert (shown["status"], shown["draining"]) == ("lost", True)
    for method in ("POST", "DELETE"):
        response = client.request(method, "/v1/workers/wrk_none/drain")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
