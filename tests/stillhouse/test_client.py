from __future__ import annotations

import pytest

from stillhouse import errors
from stillhouse.client import Client
from stillhouse.spec import JobSpec
from tests.stillhouse.conftest import Answer, Script, as_json

JOB = "job_01jd0000000000000000000000"
TEACHER = "tch_01jd0000000000000000000000"


def test_waiting_asks_for_changes_only_and_ends_with_the_job(script: Script) -> None:
    script.on(
        f"/v1/jobs/{JOB}",
        as_json({"status": "queued"}, ETag='"1"'),
        Answer(304, headers={"ETag": '"1"'}),
        as_json({"status": "running"}, ETag='"2"'),
        as_json({"status": "failed"}, ETag='"3"'),
    )
    seen: list[str] = []
    with Client(script.url) as client:
        ended = client.wait(JOB, progress=lambda job: seen.append(job["status"]))
    assert ended == {"status": "failed"}
    assert seen == ["queued", "running", "failed"]
    tags = [request.headers.get("If-None-Match") for request in script.requests]
    assert tags == [None, '"1"', '"1"', '"2"']
    # The first look must not be held: without an ETag the service would wait for the end.
    assert [request.headers.get("Prefer") for request in script.requests] == [None] + [
        "wait=30"
    ] * 3


def test_a_rejected_teacher_is_raised_with_its_own_code(script: Script) -> None:
    error = {"code": "teacher_mismatch", "detail": "It doesn't fit.", "tensors": {"total": 3}}
    body = {"id": TEACHER, "status": "rejected", "error": error}
    script.on(f"/v1/teachers/{TEACHER}", as_json(body, ETag='"1"'))
    with Client(script.url) as client, pytest.raises(errors.InputRejected) as caught:
        client.wait_ready(TEACHER)
    assert caught.value.as_dict() == error


def test_a_list_is_read_page_by_page_as_far_as_it_is_asked_for(script: Script) -> None:
    pages = [
        as_json({"data": [{"id": "job_3"}, {"id": "job_2"}], "has_more": True}),
        as_json({"data": [{"id": "job_1"}], "has_more": False}),
    ]
    script.on("/v1/jobs", *pages)
    with Client(script.url) as client:
        jobs = client.jobs(status="failed", metadata={"ticket": "ML-7"})
        assert next(jobs)["id"] == "job_3"
        assert len(script.requests) == 1
        assert [job["id"] for job in jobs] == ["job_2", "job_1"]
    assert script.requests[1].path.endswith("status=failed&metadata%5Bticket%5D=ML-7&after=job_2")


def test_a_jobs_log_ends_with_the_last_lines_that_were_asked_for(script: Script) -> None:
    script.on(f"/v1/jobs/{JOB}/logs", Answer(body=b"one\ntwo\nthree\n"))
    with Client(script.url) as client:
        assert client.logs(JOB, tail=2) == "two\nthree\n"
        assert client.logs(JOB) == "one\ntwo\nthree\n"


def test_teachers_datasets_and_students_are_listed(script: Script) -> None:
    page = as_json({"data": [{"id": "one"}], "has_more": False})
    for path in ("teachers", "datasets", "students", f"jobs/{JOB}/students"):
        script.on(f"/v1/{path}", page)
    with Client(script.url) as client:
        lists = [client.teachers(), client.datasets(), client.students(), client.students(JOB)]
        assert [list(found) for found in lists] == [[{"id": "one"}]] * 4
    assert script.requests[-1].path.startswith(f"/v1/jobs/{JOB}/students")


def test_a_spec_is_sent_as_it_was_written_without_defaults(script: Script) -> None:
    script.on("/v1/jobs", as_json({"id": JOB}, 201))
    spec = {
        "teachers": [{"id": TEACHER}],
        "dataset": "ds_01jd0000000000000000000000",
        "students": [{"name": "s", "network": {"family": "timm", "name": "resnet10t"}}],
        "objective": [{"kind": "labels"}],
    }
    with Client(script.url) as client:
        client.submit(JobSpec.model_validate(spec))
        client.submit(spec)
    typed, plain = [request.body for request in script.requests]
    assert typed == plain
