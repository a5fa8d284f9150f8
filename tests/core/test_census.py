"""How much of everything there is."""

import time

import pytest
from sqlalchemy import update

from core import census, jobs, workers
from core.census import Stored
from core.db import Database, db_now
from core.tables import Event, Run
from tests.stage import Stage, expired_at


def test_an_empty_database_has_nothing_of_anything(database: Database) -> None:
    with database.read() as session:
        assert census.jobs_by_status(session, jobs.STATUSES) == dict.fromkeys(jobs.STATUSES, 0)
        assert census.waiting(session) == []
        assert census.running(session) == {}
        assert census.lease_age(session, lease_seconds=60) == 0
        assert census.expired(session, seconds=0) == 0
        assert census.workers_by_status(session, lease_seconds=60) == {}
        assert census.stored(session) == Stored(0, 0)
        assert census.losses(session, seconds=3600) == 0


def test_jobs_are_counted_by_status(stage: Stage) -> None:
    for _ in range(3):
        stage.job()
    stage.cancel(stage.job())
    with stage.database.read() as session:
        found = census.jobs_by_status(session, jobs.STATUSES)
        live = census.jobs_by_status(session, census.LIVE)
    assert (found["queued"], found["cancelled"], sum(found.values())) == (3, 1, 4)
    assert set(live) == {"queued", "preparing", "running", "paused", "cancelling"}


def test_what_waits_is_counted_by_kind_and_device_with_its_age(stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    old = stage.job(teacher=teacher, dataset=dataset)
    stage.job(teacher=teacher, dataset=dataset)
    stage.job(teacher=teacher, dataset=dataset, resources={"device": "cuda"})
    stage.validating_dataset()
    with stage.database.write() as session:
        session.execute(update(Run).where(Run.job == old).values(created_at=time.time() - 500))
    with stage.database.read() as session:
        found = {(each.kind, each.device): each for each in census.waiting(session)}
    # Runs that wait for another run of their job are not in line.
    assert {key: each.count for key, each in found.items()} == {
        ("prepare", "auto"): 2, ("prepare", "cuda"): 1, ("intake", "host"): 1,
    }  # fmt: skip
    assert found["prepare", "auto"].oldest_seconds == pytest.approx(500, abs=20)
    assert found["prepare", "cuda"].oldest_seconds < 20


def test_a_lease_is_as_old_as_its_last_heartbeat(stage: Stage) -> None:
    stage.job()
    lease = stage.take(lease_seconds=60)
    with stage.database.read() as session:
        assert census.running(session) == {"prepare": 1}
        assert census.lease_age(session, lease_seconds=60) == pytest.approx(0, abs=5)
        assert census.expired(session, seconds=0) == 0
    with stage.database.write() as session:
        session.execute(update(Run).values(lease_expires_at=db_now() + 20))
    with stage.database.read() as session:
        assert census.lease_age(session, lease_seconds=60) == pytest.approx(40, abs=5)
    expired_at(stage, lease)
    with stage.database.read() as session:
        assert census.lease_age(session, lease_seconds=60) > 1e6
        assert census.expired(session, seconds=30) == 1


def test_workers_are_counted_by_status_and_device(stage: Stage) -> None:
    with stage.database.write() as session:
        for name, kind in (("a", "cpu"), ("b", "cuda"), ("c", "cuda"), ("d", "cuda")):
            made = workers.enrol(session, name=name, device="x", memory_bytes=1, software="1").id
            workers.describe(session, made, kind=kind, device="x", memory_bytes=1)
            if name != "d":
                workers.seen(session, made, status="busy" if name == "a" else "ready", run=None)
            if name == "c":
                workers.drain(session, made)
    with stage.database.read() as session:
        assert census.workers_by_status(session, lease_seconds=60) == {
            ("busy", "cpu"): 1, ("ready", "cuda"): 1, ("draining", "cuda"): 1, ("lost", "cuda"): 1,
        }  # fmt: skip
        assert [row.name for row in census.all_workers(session)] == ["a", "b", "c", "d"]


def test_files_are_counted_with_their_bytes(stage: Stage) -> None:
    stage.upload(b"12345")
    stage.upload(b"123")
    with stage.database.read() as session:
        assert census.stored(session) == Stored(2, 8)


def test_only_losses_of_late_count(stage: Stage) -> None:
    job = stage.job()
    with stage.database.write() as session:
        for age in (10, 20, 9000):
            session.add(
                Event(job=job, type="run_lost", message="", created_at=time.time() - age, data={})
            )
    with stage.database.read() as session:
        assert census.losses(session, seconds=3600) == 2


def test_the_clocks_of_one_machine_agree(database: Database) -> None:
    with database.read() as session:
        census.clock_offset(session)
        assert census.clock_offset(session) == pytest.approx(0, abs=0.5)
