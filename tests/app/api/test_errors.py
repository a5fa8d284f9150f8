from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api import errors
from tests import stage as stage_module
from tests.stage import NETWORK

TEACHER = "tch_" + "1" * 26
DATASET = "ds_" + "2" * 26
SHA = "a" * 64
JSON = {"content-type": "application/json"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is refused here is refused before any database is asked."""
    return sqlite_url


def require_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == f"urn:stillhouse:error:{code}"
    assert body["title"] == errors.TITLES[status]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert ("errors" in body) == (status == 422)
    assert "Traceback" not in response.text
    return body


def job(**fields: Any) -> dict[str, Any]:
    return stage_module.job_spec(TEACHER, DATASET, **fields)


def test_an_unknown_path_and_object_are_not_found(client: TestClient) -> None:
    require_problem(client.get("/nothing"), 404, "not_found")
    for kind in ("jobs", "teachers", "datasets", "students"):
        require_problem(client.get(f"/v1/{kind}/x"), 404, "not_found")
        require_problem(client.patch(f"/v1/{kind}/x", json={}), 404, "not_found")
        require_problem(client.delete(f"/v1/{kind}/x"), 404, "not_found")
    for part in ("events", "runs", "metrics", "logs", "report", "students", "best"):
        require_problem(client.get(f"/v1/jobs/x/{part}"), 404, "not_found")
    require_problem(client.post("/v1/jobs/x/cancel"), 404, "not_found")
    require_problem(client.get("/v1/runs/x/log"), 404, "not_found")


def test_another_method_is_refused_and_the_right_one_named(client: TestClient) -> None:
    response = client.put("/v1/jobs")
    require_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_request"),
        (b'{"a": 1, "a": 2}', 400, "malformed_request"),
        (b'{"a": {"b": 1, "b": 2}}', 400, "malformed_request"),
        (b"\xff\xfe{", 400, "malformed_request"),
        (b'{"name": "\xff"}', 400, "malformed_request"),
        (b"[" * 30_000, 400, "malformed_request"),
        (b'{"a":' * 9_000, 400, "malformed_request"),
        (b'{"seeds": ' + b"9" * 5_000 + b"}", 400, "malformed_request"),
        (b'{"a": NaN}', 422, "invalid_request"),
        (b'{"a": -Infinity}', 422, "invalid_request"),
        (b'{"a": 1e400}', 422, "invalid_request"),
        (b'{"a": "x\\u0000"}', 422, "invalid_request"),
        (b'{"x\\u0000": 1}', 422, "invalid_request"),
        (b'{"a": "\\ud800"}', 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b'"job"', 422, "invalid_request"),
        (b"17", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b"", 422, "invalid_request"),
        (b" " * 70_000, 413, "too_large"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/teachers", "/v1/datasets"])
def test_a_body_that_cannot_be_meant_is_refused(
    client: TestClient, path: str, body: bytes, status: int, code: str
) -> None:
    require_problem(client.post(path, content=body, headers=JSON), status, code)


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_is_not_called_json_is_refused(client: TestClient, media: str) -> None:
    response = client.post("/v1/jobs", content=b"{}", headers={"content-type": media})
    require_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "application/problem+json"])
def test_json_by_any_of_its_names_is_read(client: TestClient, media: str) -> None:
    response = client.post("/v1/jobs", content=b"{}", headers={"content-type": media})
    require_problem(response, 422, "invalid_request")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (job(epochs=3), "epochs"),
        (job(training={"epoch": 3}), "training.epoch"),
        (job(training={"epochs": 0}), "training.epochs"),
        (job(training={"epochs": 10_001}), "training.epochs"),
        (job(training={"epochs": True}), "training.epochs"),
        (job(training={"batch_size": 65_537}), "training.batch_size"),
        (job(training={"optimizer": {"kind": "sgd", "lr": 10**400}}), "training.optimizer"),
        (job(seeds=0), "seeds"),
        (job(seeds=101), "seeds"),
        (job(select="test_accuracy"), "select"),
        (job(dataset="nothing"), "dataset"),
        (job(teachers=[{"id": "nobody"}]), "teachers.0"),
        (job(training={"ema": 0.99}), "training.ema"),
        (job(students=[]), "students"),
        (job(name="../etc"), "name"),
        (job(metadata={str(number): "v" for number in range(17)}), "metadata"),
        (job(metadata={"k": 1}), "metadata.k"),
        (job(priority=101), "priority"),
        (job(limits={"seconds": 0}), "limits.seconds"),
        (job(resources={"device": "tpu"}), "resources.device"),
        (job(objective=[{"kind": "magic"}]), "objective.0"),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(
    client: TestClient, spec: dict[str, Any], field: str
) -> None:
    body = require_problem(client.post("/v1/jobs", json=spec), 422, "invalid_request")
    assert any(item["field"].startswith(field) for item in body["errors"]), body["errors"]
    assert all(set(item) == {"field", "message"} for item in body["errors"])


def test_a_job_without_a_teacher_needs_an_objective_that_imagines_one(client: TestClient) -> None:
    body = require_problem(client.post("/v1/jobs", json=job(teachers=[])), 422, "invalid_request")
    assert "name a teacher" in body["errors"][0]["message"]


@pytest.mark.parametrize(
    "spec",
    [
        job(budget={"bytes": 1}), job(webhook={"url": "http://x"}), job(controls=["dropout"]),
        job(teachers=[{"train": {"network": NETWORK, "cross_fit": 5}}]),
        job(students=[{"name": "s", "network": {"family": "onnx", "name": "x"}}]),
    ],
)  # fmt: skip
def test_a_field_of_the_contract_that_is_not_built_says_so(
    client: TestClient, spec: dict[str, Any]
) -> None:
    require_problem(client.post("/v1/jobs", json=spec), 422, "not_available")


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        ("teachers", {"name": "t", "network": NETWORK, "weights": {"uri": "s3://bucket/x"}}),
        ("teachers", {"name": "t", "network": NETWORK, "weights": {"uri": "https://x/y"}}),
        ("datasets", {"name": "d", "source": {"blob": SHA}, "task": "regression"}),
        ("datasets", {"name": "d", "source": {"blob": SHA}, "task": "multilabel"}),
        ("datasets", {"name": "d", "source": {"blob": SHA}, "splits": {"folds": 5}}),
        ("datasets", {"name": "d", "source": {"blob": SHA}, "columns": {"group": "g"}}),
    ],
)
def test_a_reference_of_the_contract_that_is_not_built_says_so(
    client: TestClient, path: str, spec: dict[str, Any]
) -> None:
    require_problem(client.post(f"/v1/{path}", json=spec), 422, "not_available")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/uploads"), ("HEAD", "/v1/uploads/x"), ("PATCH", "/v1/uploads/x"),
        ("GET", "/v1/teacher-store"), ("GET", "/v1/comparisons?job=a&job=b"),
        ("POST", "/v1/jobs/x/pause"), ("POST", "/v1/jobs/x/resume"),
        ("POST", "/v1/jobs/x/finish"), ("POST", "/v1/jobs/x/rerun"),
        ("GET", "/hf/api/models"), ("GET", "/"),
    ],
)  # fmt: skip
def test_a_path_of_the_contract_that_is_not_built_says_so(
    client: TestClient, method: str, path: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == 422
    if method != "HEAD":
        require_problem(response, 422, "not_available")


def test_a_message_is_not_read_as_a_template(client: TestClient) -> None:
    spec = job(controls=["{0}{message}%s"])
    require_problem(client.post("/v1/jobs", json=spec), 422, "invalid_request")
