import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select

from core import catalog, files, leases, runs
from core.leases import Lease
from core.tables import Checkpoint, Event, File, Job, Run, Student, Teacher
from stillhouse.errors import JobIsOver
from tests import stage as stage_module
from tests.stage import Stage


def run_of(stage: Stage, lease: Lease) -> Run:
    return stage.get(Run, lease.run.id)


def events_of(stage: Stage, job: str) -> list[str]:
    with stage.database.read() as session:
        return list(session.scalars(select(Event.type).where(Event.job == job).order_by(Event.id)))


def checkpoint(stage: Stage, lease: Lease, step: int, content: bytes) -> str:
    file = stage.put(content)
    with stage.database.write() as session:
        files.note(session, file["sha256"], file["bytes"])
        files.use(session, file["sha256"], lease.run.id, "content")
        run = runs.held(session, lease.run.id, lease.fence)
        assert run is not None
        runs.add_checkpoint(session, run, step=step, sha256=file["sha256"], size=file["bytes"])
    return str(file["sha256"])


def at_once(count: int, work: Callable[[int], None]) -> None:
    gate = threading.Barrier(count)
    troubles: list[Exception] = []

    def each(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            troubles.append(error)

    threads = [threading.Thread(target=each, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []


def test_one_of_sixteen_workers_gets_the_run(stage: Stage) -> None:
    stage.validating_dataset()
    got: list[Lease | None] = []
    at_once(16, lambda number: got.append(stage.look(worker=f"w{number}")))
    assert len([lease for lease in got if lease is not None]) == 1
    assert len(got) == 16


def test_sixteen_workers_get_sixteen_runs_of_one_job(stage: Stage) -> None:
    job = stage.job(seeds=8)
    stage.end_well(stage.take())
    got: list[Lease | None] = []
    at_once(16, lambda number: got.append(stage.look(worker=f"w{number}")))
    assert len({lease.run.id for lease in got if lease is not None}) == 16
    assert {run.status for run in stage.runs(job, "train")} == {"running"}


def test_a_running_run_is_nobody_elses(stage: Stage) -> None:
    stage.validating_dataset()
    lease = stage.take(worker="first")
    assert stage.look(worker="second") is None
    assert run_of(stage, lease).worker == "first"


def test_priority_comes_before_age(stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    old = stage.job(teacher=teacher, dataset=dataset)
    young = stage.job(teacher=teacher, dataset=dataset)
    urgent = stage.job(teacher=teacher, dataset=dataset, priority=5)
    assert [stage.take().run.job for _ in range(3)] == [urgent, old, young]
    assert stage.look() is None


def test_a_run_for_another_device_waits_for_it(stage: Stage) -> None:
    job = stage.job(resources={"device": "cuda"})
    assert stage.look() is None
    stage.devices = ("cuda",)
    assert stage.take().run.job == job


def test_a_lease_that_ran_out_is_requeued_and_its_old_holder_writes_nothing(stage: Stage) -> None:
    job = stage.job()
    stage.end_well(stage.take())
    old = stage.take(worker="silent")
    kept = checkpoint(stage, old, 10, b"state")
    stage.beat(old, 10)
    stage_module.expired_at(stage, old)
    assert stage.write(leases.expire) == 1
    new = stage.take(worker="other")
    assert new.run.id == old.run.id
    assert new.fence > old.fence
    assert stage.beat(old, 99) == "lost"
    assert stage.end_well(old) is None
    assert stage.fail(old) is None
    assert stage.write(leases.cancel, old) is None
    stage.write(leases.lose, old, reason="late")
    stage.write(leases.give_back, old, reason="late")
    with stage.database.read() as session:
        assert runs.held(session, old.run.id, old.fence) is None
        assert session.scalars(select(Student)).all() == []
        assert [row.sha256 for row in runs.checkpoints(session, new.run.id)] == [kept]
    found = run_of(stage, new)
    assert (found.status, found.worker, found.fence) == ("running", "other", new.fence)
    assert found.step == 10
    assert events_of(stage, job).count("run_lost") == 1


def test_a_lease_runs_out_by_the_databases_clock(stage: Stage) -> None:
    stage.validating_dataset()
    stage.take(lease_seconds=-1)
    with stage.database.read() as session:
        assert runs.anything_to_do(session, ())
    assert stage.write(leases.expire) == 1
    stage.take(lease_seconds=3600)
    assert stage.write(leases.expire) == 0


def test_a_heartbeat_renews_the_lease(stage: Stage) -> None:
    stage.validating_dataset()
    lease = stage.take()
    stage_module.expired_at(stage, lease)
    assert stage.beat(lease) == "continue"
    assert stage.write(leases.expire) == 0


def test_a_worker_that_starts_again_under_its_name_frees_its_runs(stage: Stage) -> None:
    stage.validating_dataset()
    stage.validating_teacher()
    mine, other = stage.take(worker="mine"), stage.take(worker="other")
    assert stage.write(leases.expire, worker="mine") == 1
    assert run_of(stage, mine).status == "queued"
    assert run_of(stage, other).status == "running"


def test_a_run_that_is_lost_five_times_without_progress_fails_as_a_crash_loop(
    stage: Stage,
) -> None:
    job = stage.job()
    for _ in range(leases.MAX_LOSSES):
        assert stage.status(job) != "failed"
        stage.write(leases.lose, stage.take(), reason="The trainer died of signal 9.")
    found = stage.get(Job, job)
    assert found.status == "failed"
    assert found.error is not None
    assert found.error["code"] == "crash_loop"
    assert "signal 9" in found.error["detail"]
    assert stage.look() is None


def test_progress_forgives_losses(stage: Stage) -> None:
    job = stage.job()
    stage.end_well(stage.take())
    for count in range(3 * leases.MAX_LOSSES):
        lease = stage.take()
        stage.beat(lease, count + 1)
        stage.write(leases.lose, lease, reason="It died.")
    assert stage.status(job) == "running"
    assert run_of(stage, lease).losses == 1


def test_progress_below_what_was_lost_before_forgives_nothing(stage: Stage) -> None:
    job = stage.job(controls=[])
    stage.end_well(stage.take())
    for step in (50, 10, 20, 30, 40):
        lease = stage.take()
        stage.beat(lease, step)
        stage.write(leases.lose, lease, reason="It died.")
    assert stage.status(job) == "failed"


def test_giving_a_run_back_costs_nothing(stage: Stage) -> None:
    job = stage.job()
    for _ in range(3 * leases.MAX_LOSSES):
        stage.write(leases.give_back, stage.take(), reason="SIGTERM")
    assert stage.status(job) == "preparing"
    lease = stage.take()
    assert run_of(stage, lease).losses == 0
    assert events_of(stage, job).count("run_requeued") == 3 * leases.MAX_LOSSES


def test_a_job_that_takes_too_long_is_told_to_stop(stage: Stage) -> None:
    job = stage.job(limits={"seconds": 1})
    lease = stage.take()
    assert stage.beat(lease) == "continue"
    with stage.database.write() as session:
        session.get_one(Job, job).started_at = 1.0
    assert stage.beat(lease) == "deadline"
    stage.fail(lease, "time_limit")
    assert (stage.get(Job, job).error or {})["code"] == "time_limit"


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
    assert run_of(stage, lease).status == "cancelled"
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

    at_once(12, act)
    assert {stage.status(job) for job in made} == {"cancelled"}


def test_a_checkpoint_row_outlives_two_later_ones_only(stage: Stage) -> None:
    stage.job()
    stage.end_well(stage.take())
    lease = stage.take()
    for step in (10, 20, 30):
        checkpoint(stage, lease, step, f"state {step}".encode())
    with stage.database.read() as session:
        assert [row.step for row in runs.checkpoints(session, lease.run.id)] == [30, 20]


def test_a_finished_run_leaves_no_checkpoint(stage: Stage) -> None:
    stage.job()
    stage.end_well(stage.take())
    lease = stage.take()
    sha256 = checkpoint(stage, lease, 10, b"state")
    assert stage.end_well(lease) == [sha256]
    with stage.database.read() as session:
        assert session.scalars(select(Checkpoint)).all() == []
        assert session.get(File, sha256) is None


def test_a_checkpoint_that_another_run_shares_stays(stage: Stage) -> None:
    stage.job()
    stage.end_well(stage.take())
    first, second = stage.take(), stage.take()
    sha256 = checkpoint(stage, first, 10, b"the same state")
    checkpoint(stage, second, 10, b"the same state")
    assert stage.end_well(first) == []
    with stage.database.read() as session:
        assert session.get(File, sha256) is not None
    assert stage.end_well(second) == [sha256]


def test_two_reconcilers_at_once_free_each_run_once(stage: Stage) -> None:
    stage.job(seeds=5)
    stage.end_well(stage.take())
    for lease in [stage.take() for _ in range(10)]:
        stage_module.expired_at(stage, lease)
    freed: list[int] = []
    at_once(4, lambda _: freed.append(stage.write(leases.expire)))
    assert sum(freed) == 10
    with stage.database.read() as session:
        assert set(session.scalars(select(Run.losses).where(Run.kind == "train"))) == {1}


def test_a_deleted_job_takes_its_rows_and_its_students_only_if_asked(stage: Stage) -> None:
    job, other = stage.job(), None
    stage.play()
    with stage.database.read() as session:
        kept = len(session.scalars(select(Student)).all())
    assert kept == 2
    stage.write(catalog.delete_job, "default", job, cascade=False)
    with stage.database.read() as session:
        assert len(session.scalars(select(Student)).all()) == kept
        assert session.scalars(select(Run).where(Run.job == job)).all() == []
        assert session.scalars(select(Event)).all() == []
    other = stage.job()
    stage.play()
    stage.write(catalog.delete_job, "default", other, cascade=True)
    with stage.database.read() as session:
        assert len(session.scalars(select(Student)).all()) == kept


def test_a_teacher_that_is_deleted_while_it_is_taken_in_stays_deleted(stage: Stage) -> None:
    teacher = stage.validating_teacher()
    lease = stage.take()
    stage.write(catalog.delete_teacher, "default", teacher)
    assert stage.beat(lease) == "lost"
    with stage.database.write() as session:
        assert leases.succeed(session, lease, stage_module.teacher_facts(), []) is None
        assert session.get(Teacher, teacher) is None
