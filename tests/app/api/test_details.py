import math
from typing import Any

import pytest
from starlette.testclient import TestClient

from core import runs
from tests.stage import Stage


def finished(stage: Stage, **fields: Any) -> str:
    job = stage.job(**fields)
    stage.play()
    return job


def test_events_are_told_oldest_first_and_page_by_id(client: TestClient, stage: Stage) -> None:
    job = finished(stage)
    body = client.get(f"/v1/jobs/{job}/events").json()
    assert [event["type"] for event in body["data"]] == [
        "created", "preparing", "running", "succeeded",
    ]  # fmt: skip
    first = body["data"][0]
    assert set(first) == {
        "object", "id", "job", "created_at", "type", "level", "run", "message", "data",
    }  # fmt: skip
    assert isinstance(first["id"], int)
    page = client.get(f"/v1/jobs/{job}/events?limit=1&after={first['id']}")
    assert [event["type"] for event in page.json()["data"]] == ["preparing"]
    assert page.json()["has_more"] is True
    following = page.headers["link"].partition(";")[0].strip("<>")
    assert client.get(following).json()["data"][0]["type"] == "running"


def test_events_as_a_stream_and_the_report_as_a_page_come_later(
    client: TestClient, stage: Stage
) -> None:
    job = finished(stage)
    for path, accept in (("events", "text/event-stream"), ("report", "text/html")):
        response = client.get(f"/v1/jobs/{job}/{path}", headers={"accept": accept})
        assert (response.status_code, response.json()["code"]) == (422, "not_available")


def test_runs_stand_in_the_order_of_their_making(client: TestClient, stage: Stage) -> None:
    job = finished(stage, seeds=[5])
    body = client.get(f"/v1/jobs/{job}/runs").json()
    assert [(run["kind"], run["arm"], run["seed"]) for run in body["data"]] == [
        ("prepare", None, None), ("train", "distilled", 5), ("train", "no_teacher", 5),
        ("report", None, None),
    ]  # fmt: skip
    assert {run["status"] for run in body["data"]} == {"succeeded"}
    assert body["data"][0]["worker"] == "w1"
    assert (body["data"][0]["device"], body["data"][0]["attempts"]) == ("cpu", 1)
    page = client.get(f"/v1/jobs/{job}/runs?limit=2").json()
    assert page["has_more"] is True
    rest = client.get(f"/v1/jobs/{job}/runs?after={page['data'][-1]['id']}").json()
    assert page["data"] + rest["data"] == body["data"]


@pytest.fixture
def curves(stage: Stage) -> tuple[str, str]:
    job = stage.job()
    lease = stage.play_until("train")
    points = [("loss", step, 1.0 / (step + 1)) for step in range(50)]
    stage.write(runs.add_metrics, lease.run.id, [*points, ("lr", 0, 0.1)])
    return job, lease.run.id


def test_curves_come_by_run_and_name(client: TestClient, curves: tuple[str, str]) -> None:
    job, run = curves
    body = client.get(f"/v1/jobs/{job}/metrics").json()
    assert [(item["run"], item["name"]) for item in body["data"]] == [(run, "loss"), (run, "lr")]
    assert body["data"][0]["points"][:2] == [[0, 1.0], [1, 0.5]]
    only = client.get(f"/v1/jobs/{job}/metrics?name=lr&run={run}").json()["data"]
    assert [item["points"] for item in only] == [[[0, 0.1]]]
    late = client.get(f"/v1/jobs/{job}/metrics?name=loss&after_step=47").json()["data"]
    assert [point[0] for point in late[0]["points"]] == [48, 49]
    assert client.get(f"/v1/jobs/{job}/metrics?run=other").json()["data"] == []


def test_a_thinned_curve_keeps_its_ends(client: TestClient, curves: tuple[str, str]) -> None:
    data = client.get(f"/v1/jobs/{curves[0]}/metrics?name=loss&points=7").json()["data"]
    steps = [point[0] for point in data[0]["points"]]
    assert (steps[0], steps[-1], len(steps)) == (0, 49, 7)
    assert steps == sorted(set(steps))


def test_a_replayed_point_is_written_once(
    client: TestClient, stage: Stage, curves: tuple[str, str]
) -> None:
    job, run = curves
    stage.write(runs.add_metrics, run, [("lr", 0, 0.2)])
    data = client.get(f"/v1/jobs/{job}/metrics?name=lr").json()["data"]
    assert data[0]["points"] == [[0, 0.2]]


def test_logs_are_text(client: TestClient, stage: Stage, curves: tuple[str, str]) -> None:
    job, run = curves
    stage.write(runs.add_log, run, "one\ntwo\x00\n")
    stage.write(runs.add_log, run, "three\n")
    response = client.get(f"/v1/runs/{run}/log")
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == "one\ntwo\N{REPLACEMENT CHARACTER}\nthree\n"
    assert client.get(f"/v1/runs/{run}/log?tail=1").text == "three\n"
    logs = client.get(f"/v1/jobs/{job}/logs").text
    assert logs.startswith(f"== {run} train small distilled")
    assert "three" in logs


def test_a_report_is_a_superset_of_the_result(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    response = client.get(f"/v1/jobs/{job}/report")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    stage.play()
    body = client.get(f"/v1/jobs/{job}/report").json()
    assert (body["object"], body["job"]) == ("report", job)
    assert body["result"] == client.get(f"/v1/jobs/{job}").json()["result"]
    assert {"spec", "resolved", "curves"} <= set(body)


def test_the_best_student_fits_its_budget(client: TestClient, stage: Stage) -> None:
    job = finished(stage, seeds=2)
    best = client.get(f"/v1/jobs/{job}/best").json()
    assert (best["object"], best["arm"], best["seed"]) == ("student", "distilled", 1)
    assert client.get(f"/v1/jobs/{job}/best?max_latency_ms=2.5").json() == best
    response = client.get(f"/v1/jobs/{job}/best?max_bytes=1")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    for wrong in ("max_bytes=0", "max_latency_ms=nan", "max_latency_ms=-1"):
        assert client.get(f"/v1/jobs/{job}/best?{wrong}").status_code == 422
    assert client.get(f"/v1/jobs/{job}/best?max_latency_ms={math.inf}").status_code in (200, 422)
