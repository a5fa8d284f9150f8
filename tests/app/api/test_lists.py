from typing import Any

import pytest
from starlette.testclient import TestClient

from core import submissions
from core.submissions import Submission
from core.tables import Dataset, Job, Teacher
from stillhouse.spec import JobSpec
from tests import stage as stage_module
from tests.stage import Stage


def ids(response: Any) -> list[str]:
    body = response.json()
    assert body["object"] == "list"
    return [item["id"] for item in body["data"]]


@pytest.fixture
def made(stage: Stage) -> list[str]:
    """Seven jobs, newest first."""
    teacher, dataset = stage.teacher(), stage.dataset()
    return [stage.job(teacher=teacher, dataset=dataset) for _ in range(7)][::-1]


def test_pages_follow_each_other_newest_first(client: TestClient, made: list[str]) -> None:
    path, seen = "/v1/jobs?limit=3", []
    while True:
        response = client.get(path)
        seen += ids(response)
        assert response.json()["has_more"] == ("link" in response.headers)
        if not response.json()["has_more"]:
            break
        target, _, relation = response.headers["link"].partition("; ")
        assert relation == 'rel="next"'
        path = target.strip("<>")
    assert seen == made


def test_a_page_does_not_move_when_newer_ones_come(
    client: TestClient, stage: Stage, made: list[str]
) -> None:
    first = ids(client.get("/v1/jobs?limit=3"))
    row = stage.get(Job, made[0])
    stage.job(teacher=row.teacher, dataset=row.dataset)
    assert ids(client.get(f"/v1/jobs?limit=3&after={first[-1]}")) == made[3:6]


def test_a_last_page_that_is_full_has_no_next(client: TestClient, made: list[str]) -> None:
    response = client.get("/v1/jobs?limit=7")
    assert ids(response) == made
    assert response.json()["has_more"] is False
    assert ids(client.get(f"/v1/jobs?after={made[-1]}")) == []


def test_filters_narrow_a_list_and_stay_in_its_link(client: TestClient, stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    other = stage.teacher(classes=None)
    plain = [stage.job(teacher=teacher, dataset=dataset) for _ in range(2)]
    marked = [
        stage.job(teacher=other, dataset=dataset, metadata={"team": "a b&c", "x": "1"})
        for _ in range(2)
    ]
    stage.cancel(plain[0])
    assert ids(client.get("/v1/jobs?status=cancelled")) == [plain[0]]
    assert ids(client.get("/v1/jobs?status=paused")) == []
    assert ids(client.get(f"/v1/jobs?teacher={other}")) == marked[::-1]
    assert len(ids(client.get(f"/v1/jobs?dataset={dataset}"))) == 4
    params = {"metadata[team]": "a b&c", "metadata[x]": "1", "limit": "1"}
    response = client.get("/v1/jobs", params=params)
    assert ids(response) == marked[:0:-1]
    following = response.headers["link"].partition(";")[0].strip("<>")
    assert ids(client.get(following)) == marked[:1]
    assert ids(client.get("/v1/jobs", params=params | {"metadata[x]": "2"})) == []
    assert ids(client.get("/v1/jobs", params={f"metadata[{'k' * 65}]": "1"})) == []


def test_each_kind_has_its_list(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    stage.play()
    spec = client.get(f"/v1/jobs/{job}").json()["spec"]
    teacher, dataset = spec["teachers"][0]["id"], spec["dataset"]
    assert ids(client.get("/v1/teachers")) == [teacher]
    assert ids(client.get("/v1/datasets")) == [dataset]
    students = ids(client.get("/v1/students"))
    assert len(students) == 2
    for query in (f"job={job}", f"teacher={teacher}", f"dataset={dataset}"):
        assert ids(client.get(f"/v1/students?{query}")) == students
        assert ids(client.get(f"/v1/students?{query}x")) == []
    assert len(ids(client.get("/v1/students?arm=distilled"))) == 1
    assert ids(client.get(f"/v1/students?limit=1&after={students[0]}")) == students[1:]


def test_another_tenants_objects_are_not_there(client: TestClient, stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    with stage.database.write() as session:
        session.get_one(Teacher, teacher).tenant = "other"
        session.get_one(Dataset, dataset).tenant = "other"
        spec = JobSpec.model_validate(stage_module.job_spec(teacher, dataset))
        job = submissions.create(session, Submission("other", spec)).id
    stage.play()
    run = stage.runs(job, "train")[0].id
    for listed in ("jobs", "teachers", "datasets", "students"):
        assert ids(client.get(f"/v1/{listed}")) == []
    for path in (f"jobs/{job}", f"teachers/{teacher}", f"datasets/{dataset}",
                 f"jobs/{job}/runs", f"runs/{run}/log"):  # fmt: skip
        assert client.get(f"/v1/{path}").status_code == 404
    assert client.post(f"/v1/jobs/{job}/cancel").status_code == 404
    assert client.delete(f"/v1/jobs/{job}").status_code == 404


def test_no_list_takes_more_filters_than_a_job_can_have_pairs(client: TestClient) -> None:
    query = "&".join(f"metadata[a{number}]=1" for number in range(80))
    response = client.get(f"/v1/jobs?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "metadata"


def test_a_job_is_listed_under_each_of_its_teachers_and_datasets(
    client: TestClient, stage: Stage
) -> None:
    first, second = stage.teacher(), stage.teacher(macs=1)
    dataset, more = stage.dataset(), stage.validating_dataset(name="more")
    spec = stage_module.job_spec(first, dataset, transfer=[more])
    spec["teachers"].append({"id": second})
    both = client.post("/v1/jobs", json=spec).json()["id"]
    alone = stage.job(teacher=second, dataset=dataset)
    assert ids(client.get(f"/v1/jobs?teacher={first}")) == [both]
    assert ids(client.get(f"/v1/jobs?teacher={second}")) == [alone, both]
    assert ids(client.get(f"/v1/jobs?teacher={second}&limit=1&after={alone}")) == [both]
    assert ids(client.get(f"/v1/jobs?dataset={more}")) == [both]
    assert ids(client.get(f"/v1/jobs?dataset={dataset}")) == [alone, both]
    response = client.delete(f"/v1/teachers/{second}")
    assert (response.status_code, response.json()["used_by"]) == (409, [both, alone])
