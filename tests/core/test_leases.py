from sqlalchemy import select

from core import leases, runs
from core.leases import Lease
from core.tables import Event, Job, Run, Student
from tests import stage as stage_module
from tests.stage import Stage


def run_of(stage: Stage, lease: Lease) -> Run:
    return stage.get(Run, lease.run.id)


def events_of(stage: Stage, job: str) -> list[str]:
    with stage.database.read() as session:
        return list(session.scalars(select(Event.type).where(Event.job == job).order_by(Event.id)))


def test_one_of_sixteen_workers_gets_the_run(stage: Stage) -> None:
    stage.validating_dataset()
    got: list[Lease | None] = []
    stage_module.at_once(16, lambda number: got.append(stage.look(worker=f"w{number}")))
    assert len([lease for lease in got if lease is not None]) == 1
    assert len(got) == 16


def test_sixteen_workers_get_sixteen_runs_of_one_job(stage: Stage) -> None:
    job = stage.job(seeds=8)
    stage.end_well(stage.take())
    got: list[Lease | None] = []
    stage_module.at_once(16, lambda number: got.append(stage.look(worker=f"w{number}")))
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
    stage.devices = ("host", "auto", "cuda")
    assert stage.take().run.job == job


def test_a_lease_that_ran_out_is_requeued_and_its_old_holder_writes_nothing(stage: Stage) -> None:
    job = stage.job()
    stage.end_well(stage.take())
    old = stage.take(worker="silent")
    kept = stage.checkpoint(old, 10, b"state")
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


def test_two_reconcilers_at_once_free_each_run_once(stage: Stage) -> None:
    stage.job(seeds=5)
    stage.end_well(stage.take())
    for lease in [stage.take() for _ in range(10)]:
        stage_module.expired_at(stage, lease)
    freed: list[int] = []
    stage_module.at_once(4, lambda _: freed.append(stage.write(leases.expire)))
    assert sum(freed) == 10
    with stage.database.read() as session:
        assert set(session.scalars(select(Run.losses).where(Run.kind == "train"))) == {1}
