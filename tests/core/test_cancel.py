"""A cancel meets a job in every state, and whoever works on it."""

import threading

import pytest
from sqlalchemy import select

from core import leases
from core.tables import Event, Job, Run, Student
from stillhouse.errors import JobIsOver
from tests import stage as stage_module
from tests.stage import Stage


def events_of(stage: Stage, job: str) -> list[str]:
    with stage.database.read() as session:
        return list(session.scalars(select(Event.type).where(Event.job == job).order_by(Event.id)))


def test_a_queued_job_is_cancelled_at_once(stage: Stage) -> None:
    job = stage.job()
    stage.cancel(job)
    assert stage.status(job) == "cancelled"
    assert {run.status for run in stage.runs(job)} == {"cancelled"}
    assert stage.look() is None


@pytest.mark.parametrize("kind", ["prepare", "train", "report"])
def test_a_finish_that_races_a_cancel_loses(stage: Stage, kind: str) -> None:
    job = stage.job(controls=[])
    lease = stage.play_until(kind)
    stage.cancel(job)
    stage.cancel(job)
    assert stage.status(job) == "cancelling"
    assert stage.beat(lease) == "cancel"
    assert stage.end_well(lease) is not None
    found = stage.get(Job, job)
    assert (found.status, found.result, found.report) == ("cancelled", None, None)
    with stage.database.read() as session:
        made = session.scalars(select(Student)).all()
    assert [student.status for student in made] == (["trained"] if kind == "report" else [])
    assert events_of(stage, job)[-1] == "cancelled"


def test_a_cancelled_job_waits_for_all_its_runs(stage: Stage) -> None:
    job = stage.job()
    stage.end_well(stage.take())
    first, second = stage.take(worker="a"), stage.take(worker="b")
    stage.cancel(job)
    stage.write(leases.cancel, first)
    assert stage.status(job) == "cancelling"
    stage.fail(second)
    assert stage.status(job) == "cancelled"


@pytest.mark.parametrize("ending", ["expire", "lose", "give_back"])
def test_a_run_of_a_cancelled_job_is_not_queued_again(stage: Stage, ending: str) -> None:
    job = stage.job()
    lease = stage.take()
    stage.cancel(job)
    if ending == "expire":
        stage_module.expired_at(stage, lease)
        stage.write(leases.expire)
    else:
        stage.write(getattr(leases, ending), lease, reason="The worker ended.")
    assert stage.status(job) == "cancelled"
    assert stage.get(Run, lease.run.id).status == "cancelled"
    assert stage.look() is None


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_a_job_that_is_over_cannot_be_cancelled(stage: Stage, end: str) -> None:
    job = stage.job()
    if end == "succeeded":
        stage.play()
    elif end == "failed":
        stage.fail(stage.take())
    else:
        stage.cancel(job)
    with pytest.raises(JobIsOver):
        stage.cancel(job)
    assert stage.status(job) == end


def test_a_cancel_that_comes_while_a_job_ends_well_finds_it_over(stage: Stage) -> None:
    if stage.database.is_sqlite:
        pytest.skip("writers of SQLite stand in line")
    job = stage.job()
    lease = stage.play_until("report")
    result, listed = stage._made(lease.run)
    troubles: list[Exception] = []

    def cancel() -> None:
        try:
            stage.cancel(job)
        except JobIsOver as error:
            troubles.append(error)

    thread = threading.Thread(target=cancel)
    with stage.database.write() as session:
        assert leases.succeed(session, lease, result, listed) is not None
        session.flush()
        thread.start()
        thread.join(0.3)
        assert thread.is_alive(), "the cancel did not wait for the job's row"
    thread.join(10)
    assert len(troubles) == 1
    assert stage.status(job) == "succeeded"


def test_claims_and_cancels_at_once_never_block_each_other(stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    made = [stage.job(teacher=teacher, dataset=dataset, seeds=3) for _ in range(6)]

    def act(number: int) -> None:
        if number % 2:
            stage.cancel(made[number // 2])
            return
        lease = stage.look(worker=f"w{number}")
        if lease is not None:
            stage.end_well(lease)

    stage_module.at_once(12, act)
    assert {stage.status(job) for job in made} == {"cancelled"}
