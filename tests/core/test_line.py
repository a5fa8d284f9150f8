from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import event, text

from core import ids, jobs, leases, line, runs, waiting
from core.leases import Lease
from core.tables import Job, Run
from tests import stage as stage_module
from tests.stage import Stage


@pytest.fixture
def inputs(stage: Stage) -> dict[str, str]:
    return {"teacher": stage.teacher(), "dataset": stage.dataset()}


def order(stage: Stage, *, at_most: int = 1000) -> list[tuple[str, str]]:
    """What one worker does, one after the other: the job and the kind of each run."""
    done: list[tuple[str, str]] = []
    while len(done) < at_most and (lease := stage.look()) is not None:
        stage.end_well(lease)
        done.append((str(lease.run.job), lease.run.kind))
    return done


def test_a_sweep_and_a_later_small_job_take_turns(stage: Stage, inputs: dict[str, str]) -> None:
    sweep = stage.job(**inputs, seeds=20, controls=[])
    order(stage, at_most=6)
    small = stage.job(**inputs, seeds=3, controls=[])
    assert order(stage)[:9] == [
        (small, "prepare"),
        (sweep, "train"), (small, "train"),
        (sweep, "train"), (small, "train"),
        (sweep, "train"), (small, "train"),
        (small, "report"),  # what is trained is reported, before the sweep goes on
        (sweep, "train"),
    ]  # fmt: skip


def test_a_stream_of_small_jobs_starves_no_sweep(stage: Stage, inputs: dict[str, str]) -> None:
    sweep = stage.job(**inputs, seeds=30, controls=[])
    order(stage, at_most=4)
    done: list[str] = []
    for _ in range(10):  # a new one is there whenever the last one has ended, or sooner
        small = stage.job(**inputs, controls=[])
        while stage.status(small) != "succeeded":
            done += [job for job, _ in order(stage, at_most=1)]
    assert done.count(sweep) == 10


def test_each_device_and_each_priority_has_turns_of_its_own(
    stage: Stage, inputs: dict[str, str]
) -> None:
    here: dict[str, Any] = {**inputs, "controls": [], "resources": {"device": "cpu"}}
    sweep = stage.job(**here, seeds=10)
    order(stage, at_most=3)
    for other in ({"priority": 5}, {"resources": {"device": "cuda"}}):
        busy = stage.job(**(here | other), seeds=30)
        stage.devices = ("auto", "cuda" if "resources" in other else "cpu")
        assert {job for job, _ in order(stage, at_most=25)} == {busy}
        stage.cancel(busy)
        stage.devices = ("auto", "cpu")
    small = stage.job(**here)
    assert [job for job, _ in order(stage, at_most=4)] == [small, sweep, small, small]


def test_a_run_that_is_given_back_keeps_its_turn(stage: Stage, inputs: dict[str, str]) -> None:
    stage.job(**inputs, seeds=3, controls=[])
    order(stage, at_most=1)
    first = stage.take()
    stage.job(**inputs)
    stage.write(leases.give_back, first, reason="SIGTERM")
    assert stage.take().run.id == first.run.id


def test_what_moves_to_another_priority_stands_behind_its_turn(
    stage: Stage, inputs: dict[str, str]
) -> None:
    moved = stage.job(**inputs, seeds=10, controls=[])
    order(stage, at_most=1)
    high = stage.job(**inputs, seeds=20, controls=[], priority=9)
    order(stage, at_most=8)
    with stage.database.write() as session:
        jobs.set_priority(session, session.get_one(Job, moved, with_for_update=True), 9)
    assert [job for job, _ in order(stage, at_most=4)] == [moved, high, moved, high]


def test_a_run_whose_time_has_not_come_blocks_nobody(stage: Stage, inputs: dict[str, str]) -> None:
    stage.job(**inputs, priority=3)
    other = stage.job(**inputs)
    delayed = stage.take()
    stage.write(leases.give_back, delayed, reason="The disk is full.", delay_seconds=60)
    assert stage.take().run.job == other
    assert stage.look() is None
    with stage.database.read() as session:
        assert not runs.anything_to_do(session, stage.devices)


def test_eight_workers_at_once_claim_each_run_once(stage: Stage, inputs: dict[str, str]) -> None:
    for _ in range(4):
        stage.job(**inputs, seeds=30, controls=[])
    for prepare in [stage.take() for _ in range(4)]:
        stage.end_well(prepare)
    got: list[Lease] = []

    def work(number: int) -> None:
        got.extend(iter(lambda: stage.look(worker=f"w{number}"), None))

    stage_module.at_once(8, work)
    assert len(got) == len({lease.run.id for lease in got}) == 120
    assert len({lease.run.worker for lease in got}) > 1


def test_a_job_that_another_transaction_holds_is_passed_over_and_then_waited_for(
    stage: Stage, inputs: dict[str, str]
) -> None:
    if stage.database.is_sqlite:
        pytest.skip("it has one writer at a time")
    held, other = stage.job(**inputs), stage.job(**inputs)
    got: list[str | None] = []

    def look() -> threading.Thread:
        worker = threading.Thread(target=lambda: got.append(stage.take().run.job))
        worker.start()
        return worker

    with stage.database.write() as session:
        session.get_one(Job, held, with_for_update=True)
        look().join(10)
        assert got == [other]
        second = look()
        second.join(0.3)
        assert got == [other]
    second.join(10)
    assert got == [other, held]


def test_claims_expiries_and_cancels_of_many_jobs_never_deadlock(
    stage: Stage, inputs: dict[str, str]
) -> None:
    made = [stage.job(**inputs, seeds=6, controls=[]) for _ in range(8)]
    for prepare in [stage.take() for _ in made]:
        stage.end_well(prepare)

    def work(number: int) -> None:
        for job in made[number::6] if number < 2 else ():
            stage.cancel(job)
        for _ in range(15):
            lease = stage.look(worker=f"w{number}", lease_seconds=-1)
            if lease is not None and number % 2:
                stage.write(leases.give_back, lease, reason="SIGTERM")
            stage.write(leases.expire)

    stage_module.at_once(6, work)


def test_a_job_on_auto_stays_on_the_device_that_prepared_it(
    stage: Stage, inputs: dict[str, str]
) -> None:
    job = stage.job(**inputs)
    stage.devices = ("auto", "cuda")
    assert stage.get(Job, job).resolved["resources"] == {"device": "auto"}  # type: ignore[index]
    stage.end_well(stage.take())
    assert stage.get(Job, job).resolved["resources"] == {"device": "cuda"}  # type: ignore[index]
    stage.devices = ("auto", "cpu")
    assert stage.look() is None
    stage.devices = ("auto", "cuda")
    assert [kind for _, kind in order(stage)] == ["train", "train", "report"]
    assert {run.device for run in stage.runs(job)} == {"cuda"}


def test_every_look_at_the_line_uses_an_index(stage: Stage, inputs: dict[str, str]) -> None:
    """However many runs are stored, and whatever a database knows of them."""
    job = stage.job(**inputs)
    _store(stage, 3_000)
    database, seen = stage.database, []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    with database.read() as session:
        runs.anything_to_do(session, ("auto", "cpu"))
        line.front(session, ("auto", "cpu"))
        line.now(session, "auto", 0)
        waiting.of_job(session, session.get_one(Job, job), lease_seconds=60)
    event.remove(database.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    plans = []
    for statement, parameters in seen:
        with database.engine.connect() as connection:
            rows = connection.exec_driver_sql(explain + statement, parameters)
            plans += [str(row[-1]) for row in rows]
    assert [each for each in plans if "SCAN runs" in each or "Seq Scan on runs" in each] == []
    used = Counter(name for each in plans for name in _named(each))
    assert {"ix_runs_line", "ix_runs_started", "ix_runs_line_of_job"} <= set(used)


def _named(plan: str) -> list[str]:
    return [word.strip("(),") for word in plan.split() if word.startswith("ix_runs")]


def _store(stage: Stage, count: int) -> None:
    """Runs that are over, and as many that only another device may take."""
    over: dict[str, Any] = {
        "status": "succeeded",
        "device": "cpu",
        "device_kind": "cpu",
        "started_at": time.time(),
    }
    queued: dict[str, Any] = {"status": "queued", "device_kind": "cuda"}
    with stage.database.write() as session:
        session.add_all(
            Run(id=ids.new("run"), kind="train", slot=f"stored/{number}", turn=number, **each)
            for number, each in enumerate(itertools.chain.from_iterable([(over, queued)] * count))
        )
    with stage.database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
