"""Another tenant's objects are not there, by whatever route or spec they are asked for."""

import re
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import select
from starlette.testclient import TestClient

from core.settings import Settings
from core.tables import Student
from tests import stage as stage_module
from tests.stage import NETWORK, Stage

CONTENT = b"what only one tenant has sent"
OPERATORS = {"key_id", "worker_id"}  # an operator sees those of all tenants
BODIES: dict[str, Any] = {"PATCH": {"name": "mine"}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": "keys"})


@pytest.fixture
def theirs(stage: Stage) -> dict[str, str]:
    """One object of each kind, all of the tenant "default"."""
    job = stage.job()
    stage.play()
    with stage.database.read() as session:
        student = session.scalars(select(Student).where(Student.job == job)).first()
    assert student is not None
    return {
        "job_id": job,
        "run_id": stage.runs(job)[0].id,
        "student_id": student.id,
        "teacher_id": str(student.teacher),
        "dataset_id": student.dataset,
        "sha256": stage.upload(CONTENT),
        "path": "model.safetensors",
        "part": "train",
    }


def test_every_route_with_an_id_hides_it_from_another_tenant(
    client: TestClient, stage: Stage, theirs: dict[str, str]
) -> None:
    owner, other = stage.key("submit"), stage.key("submit", "birds")
    asked = 0
    for context in iter_route_contexts(client.app.routes):  # type: ignore[attr-defined]  # a FastAPI
        names = re.findall(r"\{(\w+)(?::\w+)?\}", str(context.path))
        if not names or OPERATORS & set(names) or not set(names) <= set(theirs):
            continue
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: theirs[found[1]], str(context.path))
        for method in context.methods or ():
            if method == "PUT":
                continue  # see the test about blobs
            response = client.request(method, path, json=BODIES.get(method), headers=other)
            later = response.status_code == 422 and response.json()["code"] == "not_available"
            assert later or response.status_code == 404, (method, path, response.text)
            asked += not later
            if method == "GET":
                seen = client.get(path, headers=owner)
                assert later or seen.status_code == 200, (path, seen.text)
    assert asked > 20


def test_lists_hold_ones_own(client: TestClient, stage: Stage, theirs: dict[str, str]) -> None:
    other = stage.key("read", "birds")
    filters = f"job={theirs['job_id']}&teacher={theirs['teacher_id']}"
    for kind in ("teachers", "datasets", "jobs", "students"):
        for query in ("", f"?{filters}&dataset={theirs['dataset_id']}"):
            assert client.get(f"/v1/{kind}{query}", headers=other).json()["data"] == []


def test_a_spec_that_names_anothers_object_is_told_that_there_is_none(
    client: TestClient, stage: Stage, theirs: dict[str, str]
) -> None:
    other = stage.key("submit", "birds")
    job = stage_module.job_spec(theirs["teacher_id"], theirs["dataset_id"])
    teacher = {"name": "t", "network": NETWORK}
    unknown = {value: value[:-8] + "00000000" for value in theirs.values() if len(value) > 20}
    seen = {"dataset": theirs["dataset_id"], "parts": ["train"]}
    specs: list[tuple[str, dict[str, Any]]] = [
        ("jobs", job),
        ("jobs/estimate", job),
        ("jobs", {**job, "teachers": [], "objective": [{"kind": "labels"}]}),
        ("datasets", {"name": "d", "source": {"blob": theirs["sha256"]}}),
        ("teachers", teacher | {"weights": {"blob": theirs["sha256"]}}),
        ("teachers", teacher | {"weights": {"files": {"model.safetensors": theirs["sha256"]}}}),
        ("teachers", teacher | {"train": {"dataset": theirs["dataset_id"]}}),
        ("teachers", teacher | {"trained_on": seen, "weights": {"blob": theirs["sha256"]}}),
    ]
    for path, spec in specs:
        answers = []
        for body in (spec, _renamed(spec, unknown)):
            response = client.post(f"/v1/{path}", json=body, headers=other)
            assert response.status_code == 422, (path, response.text)
            answers.append((response.json()["code"], response.json()["errors"][0]["field"]))
        assert answers[0] == answers[1]


def test_a_hash_is_not_an_access_right(
    client: TestClient, stage: Stage, theirs: dict[str, str]
) -> None:
    other, path = stage.key("submit", "birds"), f"/v1/blobs/{theirs['sha256']}"
    assert client.head(path, headers=other).status_code == 404
    assert client.delete(path, headers=other).status_code == 404
    refused = client.put(path, content=b"guessed", headers=other)
    assert (refused.status_code, refused.json()["code"]) == (422, "digest_mismatch")
    assert client.head(path, headers=other).status_code == 404
    assert client.put(path, content=CONTENT, headers=other).status_code == 201
    assert client.head(path, headers=other).status_code == 200


def test_who_else_names_a_blob_is_not_told(
    client: TestClient, stage: Stage, theirs: dict[str, str]
) -> None:
    owner, other = stage.key("submit"), stage.key("submit", "birds")
    path = f"/v1/blobs/{theirs['sha256']}"
    client.post(
        "/v1/datasets", json={"name": "d", "source": {"blob": theirs["sha256"]}}, headers=owner
    )
    client.put(path, content=CONTENT, headers=other)
    assert client.delete(path, headers=other).status_code == 204
    held = client.delete(path, headers=owner)
    assert (held.status_code, held.json()["code"]) == (409, "in_use")


def test_idempotency_keys_of_two_tenants_do_not_meet(client: TestClient, stage: Stage) -> None:
    blob = stage.upload(CONTENT)
    stage.upload(CONTENT, "birds")
    spec = {"name": "d", "source": {"blob": blob}}
    made = [
        client.post("/v1/datasets", json=body, headers=headers | {"idempotency-key": "k"})
        for headers, body in (
            (stage.key("submit"), spec),
            (stage.key("submit", "birds"), spec | {"name": "e"}),
        )
    ]
    assert [each.status_code for each in made] == [202, 202]
    assert made[0].json()["id"] != made[1].json()["id"]


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    return names.get(value, value)
