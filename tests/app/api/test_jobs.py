import threading
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from core.tables import Job
from tests import stage as stage_module
from tests.stage import Stage

FIELDS = {
    "object", "id", "name", "metadata", "tenant", "created_by", "created_at", "status", "kind",
    "started_at", "finished_at", "progress", "waiting", "error", "attempts", "parent", "priority",
    "spec", "resolved", "variants", "result",
}  # fmt: skip


def submitted(client: TestClient, stage: Stage, **fields: Any) -> Any:
    spec = stage_module.job_spec(stage.teacher(), stage.dataset(), **fields)
    return client.post("/v1/jobs", json=spec)


def test_a_submitted_job_answers_with_all_its_fields(client: TestClient, stage: Stage) -> None:
    response = submitted(client, stage, name="two", metadata={"ticket": "ML-7"}, priority=3)
    assert response.status_code == 201
    body = response.json()
    assert set(body) == FIELDS
    assert (body["object"], body["status"], body["kind"]) == ("job", "queued", "distill")
    assert (body["name"], body["metadata"], body["priority"]) == ("two", {"ticket": "ML-7"}, 3)
    assert (body["tenant"], body["created_by"], body["parent"]) == ("default", None, None)
    assert body["created_at"].endswith("Z")
    assert body["progress"].keys() == {"fraction", "step", "steps", "epoch", "eta_seconds"}
    assert all(isinstance(value, int | float) for value in body["progress"].values())
    assert response.headers["location"] == f"/v1/jobs/{body['id']}"
    assert client.get(response.headers["location"]).json() == body


def test_a_job_can_be_sent_again_as_it_was_resolved(client: TestClient, stage: Stage) -> None:
    body = submitted(client, stage).json()
    again = client.post("/v1/jobs", json=body["resolved"])
    assert again.status_code == 201
    assert again.json()["resolved"] == body["resolved"]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"teachers": [{"id": "tch_" + "0" * 26}]}, "not_found", "teachers.0.id"),
        ({"dataset": "ds_" + "0" * 26}, "not_found", "dataset"),
        ({"training": {"batch_size": 5000}}, "invalid_request", "training.batch_size"),
    ],
)
def test_what_a_job_names_must_fit(
    client: TestClient, stage: Stage, change: dict[str, Any], code: str, field: str
) -> None:
    response = submitted(client, stage, **change)
    assert (response.status_code, response.json()["code"]) == (422, code)
    assert [item["field"] for item in response.json()["errors"]] == [field]


def test_a_rejected_input_is_refused(client: TestClient, stage: Stage) -> None:
    teacher = stage.teacher()
    dataset = stage_module.rejected(stage, stage.validating_dataset())
    response = client.post("/v1/jobs", json=stage_module.job_spec(teacher, dataset))
    assert (response.status_code, response.json()["code"]) == (422, "reference_rejected")


def test_other_classes_are_refused(client: TestClient, stage: Stage) -> None:
    teacher, dataset = stage.teacher(classes=("a", "b")), stage.dataset()
    response = client.post("/v1/jobs", json=stage_module.job_spec(teacher, dataset))
    assert (response.status_code, response.json()["code"]) == (422, "classes_differ")


def test_a_waiting_job_says_what_for(client: TestClient, stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    first, second = (stage.job(teacher=teacher, dataset=dataset) for _ in range(2))
    waiting = client.get(f"/v1/jobs/{first}").json()["waiting"]
    assert (waiting["code"], waiting["position"]) == ("no_worker", 1)
    stage.worker()
    waiting = client.get(f"/v1/jobs/{second}").json()["waiting"]
    assert (waiting["code"], waiting["position"]) == ("queue", 2)
    stage.take()
    assert client.get(f"/v1/jobs/{first}").json()["waiting"] is None
    assert client.get(f"/v1/jobs/{second}").json()["waiting"]["position"] == 1
    early = stage.job(teacher=teacher, dataset=stage.validating_dataset())
    assert client.get(f"/v1/jobs/{early}").json()["waiting"]["code"] == "inputs"


def test_a_list_invents_no_place_in_line(client: TestClient, stage: Stage) -> None:
    stage.job()
    shown = client.get("/v1/jobs").json()["data"][0]["waiting"]
    assert (shown["code"], shown["position"]) == ("queue", 0)


def test_a_status_read_is_three_short_statements_at_most_and_one_of_what_is_over(
    client: TestClient, stage: Stage
) -> None:
    job = stage.job()
    state = client.app.state.stillhouse  # type: ignore[attr-defined]  # Starlette's own attribute
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(state.database.engine, "before_cursor_execute", note)

    def count() -> int:
        seen.clear()
        assert client.get(f"/v1/jobs/{job}").status_code == 200
        return len(seen)

    assert count() == 3
    lease = stage.take()
    assert count() == 2
    stage.end_well(lease)
    stage.play()
    assert count() == 2  # what was kept of it is no longer true
    assert count() == 1


def test_progress_grows_to_the_end(client: TestClient, stage: Stage) -> None:
    job = stage.job(training={"epochs": 10, "batch_size": 6})
    stage.end_well(stage.take())
    lease = stage.take()
    stage.beat(lease, 50, 100)
    progress = client.get(f"/v1/jobs/{job}").json()["progress"]
    assert (progress["step"], progress["steps"]) == (50, 200)
    assert progress["fraction"] == pytest.approx(0.2475)
    stage.end_well(lease)
    stage.play()
    body = client.get(f"/v1/jobs/{job}").json()
    assert (body["status"], body["progress"]["fraction"]) == ("succeeded", 1.0)
    assert body["progress"]["eta_seconds"] == 0
    assert body["result"]["metric"] == "accuracy"


def test_a_cancel_is_202_and_repeated_the_same(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    lease = stage.take()
    for _ in range(2):
        response = client.post(f"/v1/jobs/{job}/cancel")
        assert (response.status_code, response.json()["status"]) == (202, "cancelling")
    stage.end_well(lease)
    response = client.post(f"/v1/jobs/{job}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "job_is_over")
    assert response.headers["x-should-retry"] == "false"
    assert client.get(f"/v1/jobs/{job}").json()["status"] == "cancelled"


def test_a_job_is_deleted_when_it_is_over(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    response = client.delete(f"/v1/jobs/{job}")
    assert (response.status_code, response.json()["code"]) == (409, "job_is_running")
    stage.play()
    students = client.get(f"/v1/students?job={job}").json()["data"]
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert client.get(f"/v1/jobs/{job}").status_code == 404
    assert client.get(f"/v1/students/{students[0]['id']}").status_code == 200


def test_cascade_takes_the_students_too(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    stage.play()
    student = client.get(f"/v1/jobs/{job}/students").json()["data"][0]["id"]
    assert client.delete(f"/v1/jobs/{job}?cascade=true").status_code == 204
    assert client.get(f"/v1/students/{student}").status_code == 404


def test_inputs_of_a_job_stay_while_it_does(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    spec = client.get(f"/v1/jobs/{job}").json()["spec"]
    paths = [f"/v1/teachers/{spec['teachers'][0]['id']}", f"/v1/datasets/{spec['dataset']}"]
    for path in paths:
        response = client.delete(path)
        assert (response.status_code, response.json()["code"]) == (409, "in_use")
        assert response.json()["used_by"] == [job]
    client.post(f"/v1/jobs/{job}/cancel")
    client.delete(f"/v1/jobs/{job}")
    assert [client.delete(path).status_code for path in paths] == [204, 204]


def test_name_metadata_and_priority_can_be_changed(client: TestClient, stage: Stage) -> None:
    job = stage.job(metadata={"a": "1"})
    before = client.get(f"/v1/jobs/{job}").headers["etag"]
    changes = {"name": "other", "metadata": {"b": "2"}, "priority": -4}
    body = client.patch(f"/v1/jobs/{job}", json=changes).json()
    assert {key: body[key] for key in changes} == changes
    assert client.get(f"/v1/jobs/{job}").headers["etag"] != before
    assert client.get("/v1/jobs?metadata[a]=1").json()["data"] == []
    assert len(client.get("/v1/jobs?metadata[b]=2").json()["data"]) == 1
    assert client.patch(f"/v1/jobs/{job}", json={"status": "failed"}).status_code == 422


def test_changes_at_once_each_get_their_own_etag(live_url: str, stage: Stage) -> None:
    job = stage.job()
    before = stage.get(Job, job).version

    def change(number: int) -> None:
        url = f"{live_url}/v1/jobs/{job}"
        assert httpx.patch(url, json={"metadata": {"n": str(number)}}).status_code == 200

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stage.get(Job, job).version == before + 8


def test_an_etag_saves_the_answer(client: TestClient, stage: Stage) -> None:
    path = f"/v1/jobs/{stage.job()}"
    tag = client.get(path).headers["etag"]
    for sent in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = client.get(path, headers={"if-none-match": sent})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    assert client.get(path, headers={"if-none-match": '"x"'}).status_code == 200
    stage.take()
    assert client.get(path, headers={"if-none-match": tag}).status_code == 200


def test_an_etag_is_old_when_the_place_in_line_is(client: TestClient, stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    first, second = (stage.job(teacher=teacher, dataset=dataset) for _ in range(2))
    before = client.get(f"/v1/jobs/{second}")
    had = {"if-none-match": before.headers["etag"]}
    assert client.get(f"/v1/jobs/{second}", headers=had).status_code == 304
    stage.cancel(first)
    after = client.get(f"/v1/jobs/{second}", headers=had)
    assert (after.status_code, after.json()["waiting"]["position"]) == (200, 1)


def test_an_estimate_without_ready_inputs_has_no_figures(client: TestClient, stage: Stage) -> None:
    spec = stage_module.job_spec(stage.teacher(), stage.validating_dataset(), seeds=2)
    body = client.post("/v1/jobs/estimate", json=spec).json()
    assert (body["object"], body["runs"], body["resolved"]) == ("estimate", 6, None)
    assert body["warnings"][0]["code"] == "inputs_not_ready"
    assert client.get("/v1/jobs").json()["data"] == []


def answer_one(stage: Stage, *, well: bool = True) -> threading.Thread:
    """A worker that answers the next estimate."""

    def act() -> None:
        never = threading.Event()
        while (lease := stage.look()) is None:
            never.wait(0.05)
        facts = {"step_seconds": 0.001, "bytes": 1000, "parameters": 12}
        found = {"students": {"small": facts}, "teachers": {"t": {"item_seconds": 0.001}}}
        if well:
            stage.end_well(lease, found)
        else:
            stage.fail(lease, "network_unknown", field="students.0.network", allowed=["mlp"])

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_an_estimate_is_measured_on_a_worker_and_creates_nothing(
    client: TestClient, stage: Stage
) -> None:
    spec = stage_module.job_spec(stage.teacher(), stage.dataset())
    worker = answer_one(stage)
    body = client.post("/v1/jobs/estimate", json=spec).json()
    worker.join()
    assert body["runs"] == 4
    assert body["resolved"]["training"]["epochs"] == 100
    assert 0 < body["seconds"]["low"] < body["seconds"]["high"]
    assert body["students"] == [
        {"name": "small", "step_seconds": 0.001, "bytes": 1000, "parameters": 12}
    ]
    assert (body["memory_bytes"] > 0, body["teacher_forwards"] > 0) == (True, True)
    assert stage.look() is None
    assert client.get("/v1/jobs").json()["data"] == []


def test_an_estimate_says_what_the_worker_refused(client: TestClient, stage: Stage) -> None:
    spec = stage_module.job_spec(stage.teacher(), stage.dataset())
    worker = answer_one(stage, well=False)
    response = client.post("/v1/jobs/estimate", json=spec)
    worker.join()
    assert (response.status_code, response.json()["code"]) == (422, "network_unknown")
    assert response.json()["allowed"] == ["mlp"]
    assert response.json()["errors"][0]["field"] == "students.0.network"


SWEEP = {"kind": "grid", "parameters": {"/objective/0/temperature": [1, 4]}}


def test_an_estimate_of_a_sweep_counts_every_variants_runs(
    client: TestClient, stage: Stage
) -> None:
    inputs = stage.teacher(), stage.dataset()
    bodies = []
    for fields in ({}, {"sweep": SWEEP}):
        worker = answer_one(stage)
        spec = stage_module.job_spec(*inputs, **fields)
        bodies.append(client.post("/v1/jobs/estimate", json=spec).json())
        worker.join()
    plain, swept = bodies
    assert (plain["runs"], plain["variants"]) == (4, None)
    assert (swept["runs"], [one["name"] for one in swept["variants"]]) == (5, ["v1", "v2"])
    # Sixty rows in every run's only view, and what preparing and reporting ask.
    assert swept["teacher_forwards"] == plain["teacher_forwards"] + 60
    assert swept["seconds"]["low"] > plain["seconds"]["low"]


def test_a_sweep_is_shown_with_its_variants_and_its_runs_name_theirs(
    client: TestClient, stage: Stage
) -> None:
    body = submitted(client, stage, sweep=SWEEP).json()
    assert body["variants"] == [
        {"name": f"v{number}", "changes": {"/objective/0/temperature": value}}
        for number, value in ((1, 1), (2, 4))
    ]
    assert client.get(f"/v1/jobs/{body['id']}").json() == body
    runs = client.get(f"/v1/jobs/{body['id']}/runs").json()["data"]
    assert [run["variant"] for run in runs] == [None, "v1", None, "v2", None]


@pytest.mark.parametrize(
    ("pointer", "values", "words"),
    [("/objective/0/temperature", [1, -1], "doesn't fit"), ("/seeds/0", [1], "can't be swept")],
)
def test_a_sweep_of_what_does_not_fit_is_refused_where_it_stands(
    client: TestClient, stage: Stage, pointer: str, values: list[Any], words: str
) -> None:
    sweep = {"kind": "grid", "parameters": {pointer: values}}
    response = submitted(client, stage, sweep=sweep)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == f"sweep.parameters.{pointer}"
    assert words in error["message"]
