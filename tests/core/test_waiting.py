from __future__ import annotations

import re

import pytest
from sqlalchemy.orm import Session

from core import ids, leases, waiting, workers
from core.tables import Job, Run
from core.waiting import Waiting
from tests.stage import Stage


@pytest.fixture
def inputs(stage: Stage) -> dict[str, str]:
    return {"teacher": stage.teacher(), "dataset": stage.dataset()}


def why(stage: Stage, job: str) -> Waiting | None:
    with stage.database.read() as session:
        return waiting.of_job(session, session.get_one(Job, job), lease_seconds=60)


def code(stage: Stage, job: str) -> str | None:
    found = why(stage, job)
    return None if found is None else found.code


def test_a_job_waits_for_what_is_being_checked_and_says_which(
    stage: Stage, inputs: dict[str, str]
) -> None:
    dataset = stage.validating_dataset()
    job = stage.job(teacher=inputs["teacher"], dataset=dataset)
    found = why(stage, job)
    assert found is not None
    assert (found.code, found.position) == ("inputs", 0)
    assert dataset in found.message
    assert inputs["teacher"] not in found.message
    assert waiting.NO_WORKER in found.message
    stage.worker()
    found = why(stage, job)
    assert found is not None
    assert waiting.NO_WORKER not in found.message


def test_the_place_in_line_counts_the_jobs_ahead(stage: Stage, inputs: dict[str, str]) -> None:
    stage.worker()
    first, second, third = (stage.job(**inputs) for _ in range(3))
    urgent = stage.job(**inputs, priority=1)
    found = [why(stage, job) for job in (urgent, first, second, third)]
    assert [each and (each.code, each.position) for each in found] == [
        ("queue", 1), ("queue", 2), ("queue", 3), ("queue", 4),
    ]  # fmt: skip
    assert found[0] is not None
    assert "next in line" in found[0].message
    stage.take()
    assert code(stage, urgent) is None
    assert why(stage, first) == found[0]


def test_a_job_whose_runs_are_all_behind_others_waits_though_it_has_begun(
    stage: Stage, inputs: dict[str, str]
) -> None:
    stage.worker()
    job = stage.job(**inputs, controls=[])
    stage.end_well(stage.take())
    stage.job(**inputs, priority=1)
    assert stage.status(job) == "running"
    found = why(stage, job)
    assert found is not None
    assert (found.code, found.position) == ("queue", 2)
    stage.play()
    assert code(stage, job) is None


def test_further_than_a_hundred_nobody_counts(stage: Stage, inputs: dict[str, str]) -> None:
    stage.worker()
    job = stage.job(**inputs, priority=-1)
    with stage.database.write() as session:
        session.add_all(
            Run(id=ids.new("run"), kind="train", slot=f"{number}", job=_bare(session, number))
            for number in range(150)
        )
    found = why(stage, job)
    assert found is not None
    assert found.position == 101
    assert "more than 100" in found.message


def test_without_a_worker_or_without_the_device_it_says_so(
    stage: Stage, inputs: dict[str, str]
) -> None:
    anywhere = stage.job(**inputs)
    cuda = stage.job(**inputs, resources={"device": "cuda"})
    assert (code(stage, anywhere), code(stage, cuda)) == ("no_worker", "no_worker")
    stage.worker()
    found = why(stage, cuda)
    assert found is not None
    assert found.code == "no_device"
    assert "needs a cuda device" in found.message
    assert "cpu only" in found.message
    assert code(stage, anywhere) == "queue"


def test_a_job_says_when_all_who_could_take_it_are_draining(
    stage: Stage, inputs: dict[str, str]
) -> None:
    job, cuda = stage.job(**inputs), stage.job(**inputs, resources={"device": "cuda"})
    only = stage.worker()
    stage.write(workers.drain, only)
    assert (code(stage, job), code(stage, cuda)) == ("draining", "no_device")
    stage.write(workers.undrain, only)
    assert code(stage, job) == "queue"


def test_a_run_that_is_tried_again_later_says_when_and_why(
    stage: Stage, inputs: dict[str, str]
) -> None:
    stage.worker()
    job = stage.job(**inputs)
    stage.write(leases.give_back, stage.take(), reason="The disk is full.", delay_seconds=60)
    found = why(stage, job)
    assert found is not None
    assert found.code == "delayed"
    assert re.search(r"again in (60|59|58) s\. The disk is full\.", found.message)


def test_what_is_over_or_at_work_waits_for_nothing(stage: Stage, inputs: dict[str, str]) -> None:
    over = stage.job(**inputs)
    stage.play()
    working = stage.job(**inputs)
    stage.end_well(stage.take())
    assert stage.take().run.kind == "train"
    assert (code(stage, over), code(stage, working)) == (None, None)


def _bare(session: Session, number: int) -> str:
    job = Job(
        id=ids.new("job"), kind="distill", status="queued", dataset="ds_x", spec={},
        name=str(number),
    )  # fmt: skip
    session.add(job)
    session.flush()
    return job.id
