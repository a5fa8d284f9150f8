"""A seeded random walk over the protocol: workers that stall, die and come back; users who cancel.

After each step the invariants hold, and when faults stop every job comes to its end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import select

from core import leases
from core.leases import Lease
from core.tables import Job, Run, Student
from stillhouse.errors import JobIsOver
from tests import stage as stage_module
from tests.stage import Stage

STEPS = 250
WORKERS = 4
TERMINAL = {"succeeded", "failed", "cancelled"}
JOB_MOVES = {
    "queued": {"preparing", "failed", "cancelled", "cancelling"},
    "preparing": {"running", "failed", "cancelled", "cancelling"},
    "running": {"succeeded", "failed", "cancelled", "cancelling"},
    "cancelling": {"cancelled"},
}
RUN_MOVES = {
    "queued": {"running", "cancelled"},
    # Within one step a run may be lost and taken again, or lost for the last time.
    "running": {"queued", "succeeded", "failed", "cancelled"},
}


class Walk:
    """What the world did so far, and what it may do next."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.chance = random.Random(seed)  # noqa: S311  a walk that can be walked again
        self.held: dict[str, Lease] = {}
        """What each worker believes to hold; it may be wrong."""
        self.teacher, self.dataset = stage.teacher(), stage.dataset()
        self.jobs: dict[str, str] = {}
        self.runs: dict[str, tuple[str, int]] = {}
        self.stale = Counter[str]()

    def step(self) -> None:
        """Let one thing happen, and look."""
        acts: list[tuple[Callable[[], None], int]] = [
            (self.submit, 3), (self.work, 40), (self.die, 4), (self.expire, 8),
            (self.cancel, 2), (self.restart, 2), (self.run_out, 5),
        ]  # fmt: skip
        act = self.chance.choices([one for one, _ in acts], [weight for _, weight in acts])[0]
        act()
        self.look()

    def submit(self) -> None:
        if len(self.jobs) < 5:
            job = self.stage.job(
                teacher=self.teacher,
                dataset=self.dataset,
                seeds=self.chance.choice([1, 2]),
                priority=self.chance.randrange(3),
            )
            self.jobs[job] = "queued"

    def work(self) -> None:
        worker = f"w{self.chance.randrange(WORKERS)}"
        lease = self.held.get(worker)
        if lease is None:
            found = self.stage.look(worker=worker)
            if found is not None:
                self.held[worker] = found
            return
        self.go_on(worker, lease)

    def go_on(self, worker: str, lease: Lease) -> None:
        """Beat, and do as one is told; now and then the run ends."""
        is_stale = self.is_stale(lease)
        order = self.stage.beat(lease, self.chance.randrange(1, 100))
        assert (order == "lost") == is_stale
        if order == "lost":
            self.write_late(worker, lease)
        elif order == "cancel":
            self.stage.write(leases.cancel, lease)
            del self.held[worker]
        elif self.chance.random() < 0.5:
            self.end(worker, lease)

    def write_late(self, worker: str, lease: Lease) -> None:
        """Whoever lost its lease tries to finish all the same."""
        assert self.stage.end_well(lease) is None
        assert self.stage.fail(lease) is None
        self.stale["writes"] += 1
        del self.held[worker]

    def end(self, worker: str, lease: Lease) -> None:
        way = self.chance.choices(["well", "fail", "lose", "give_back"], [70, 6, 8, 6])[0]
        if way == "well":
            assert self.stage.end_well(lease) is not None
        elif way == "fail":
            assert self.stage.fail(lease) is not None
        else:
            self.stage.write(getattr(leases, way), lease, reason="It was interrupted.")
        del self.held[worker]

    def die(self) -> None:
        """A worker is gone and tells nobody."""
        self.held.pop(f"w{self.chance.randrange(WORKERS)}", None)

    def restart(self) -> None:
        """A worker that is gone starts again under its name."""
        worker = f"w{self.chance.randrange(WORKERS)}"
        self.held.pop(worker, None)
        self.stage.write(leases.expire, worker=worker)

    def run_out(self) -> None:
        """A worker stalls for longer than its lease and doesn't know."""
        if self.held:
            lease = self.chance.choice(list(self.held.values()))
            if not self.is_stale(lease):
                stage_module.expired_at(self.stage, lease)

    def expire(self) -> None:
        self.stage.write(leases.expire)

    def cancel(self) -> None:
        if self.jobs:
            job = self.chance.choice(list(self.jobs))
            try:
                self.stage.cancel(job)
            except JobIsOver:
                assert self.jobs[job] in TERMINAL

    def is_stale(self, lease: Lease) -> bool:
        run = self.stage.get(Run, lease.run.id)
        return (run.fence, run.status) != (lease.fence, "running")

    def settle(self) -> None:
        """Faults stop: whoever is silent loses its runs, and the rest is done."""
        self.held.clear()
        for number in range(WORKERS):
            self.stage.write(leases.expire, worker=f"w{number}")
        self.look()
        while (lease := self.stage.look()) is not None:
            self.look()
            if self.stage.beat(lease, 100) == "cancel":
                self.stage.write(leases.cancel, lease)
            else:
                self.stage.end_well(lease)
            self.look()

    def look(self) -> None:
        """Hold the world against the invariants."""
        with self.stage.database.read() as session:
            jobs = {job.id: job for job in session.scalars(select(Job))}
            runs = session.scalars(select(Run).where(Run.job.is_not(None))).all()
            students = session.scalars(select(Student)).all()
        for job in jobs.values():
            self._moved(self.jobs, job.id, job.status, JOB_MOVES)
        self._look_at_runs(jobs, list(runs))
        self._look_at_students(jobs, {run.id: run for run in runs}, list(students))

    def _moved(self, known: dict[str, str], key: str, now: str, moves: dict[str, set[str]]) -> None:
        before = known.get(key, now)
        assert now == before or now in moves.get(before, set()), f"{key}: {before} -> {now}"
        known[key] = now

    def _look_at_runs(self, jobs: dict[str, Job], runs: list[Run]) -> None:
        for run in runs:
            before, fence = self.runs.get(run.id, (run.status, run.fence))
            assert run.fence >= fence
            moved = run.status != before
            assert not moved or run.status in RUN_MOVES.get(before, set()), f"{before} {run.status}"
            self.runs[run.id] = (run.status, run.fence)
            job = jobs[str(run.job)]
            if job.status == "succeeded":
                assert run.status in ("succeeded", "failed"), "a job is over, its run is not"
            if job.status in TERMINAL or job.status == "cancelling":
                assert run.status != "queued", "a run of a job that is over waits for a worker"
        idle = {job.id for job in jobs.values() if job.status == "cancelling"}
        assert idle <= {run.job for run in runs if run.status == "running"}

    def _look_at_students(
        self, jobs: dict[str, Job], runs: dict[str, Run], students: list[Student]
    ) -> None:
        assert len({student.run for student in students}) == len(students)
        for student in students:
            assert runs[student.run].status == "succeeded"
            is_final = jobs[student.job].status == "succeeded"
            assert student.status == ("final" if is_final else "trained")
        trained = {student.run for student in students}
        for run in runs.values():
            assert (run.kind == "train" and run.status == "succeeded") == (run.id in trained)
        for job in jobs.values():
            assert (job.report is not None) == (job.status == "succeeded")
            assert (job.error is not None) == (job.status == "failed")


@pytest.mark.parametrize("seed", range(16))
def test_nothing_is_lost_or_doubled_whatever_fails(sqlite_stage: Stage, seed: int) -> None:
    walk = Walk(sqlite_stage, seed)
    for _ in range(STEPS):
        walk.step()
    walk.settle()
    assert walk.jobs
    assert set(walk.jobs.values()) <= TERMINAL
