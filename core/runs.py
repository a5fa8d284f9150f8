"""Runs: the unit that is leased, and the only writer of its status.

    queued      it waits; `ready` says whether what it builds on is there
    running     a worker holds its lease
    succeeded   its result is written
    failed      its error is written
    cancelled   its job was cancelled, or needs it no longer

Every write of a worker names the fence that its claim was given. A claim, and the
loss of a lease, raise the fence: whoever held it before can write nothing more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from core import ids
from core.db import db_now
from core.tables import Checkpoint, LogChunk, Metric, Run
from stillhouse.spec import ResolvedJob

Ended = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands."""

    step: int
    steps: int
    epoch: int


@dataclass(frozen=True, slots=True)
class InLine:
    """A run that can be claimed, and its job."""

    run: str
    job: str | None


def add_intake(
    session: Session, tenant: str, *, teacher: str | None = None, dataset: str | None = None
) -> Run:
    """A run that takes a teacher or a dataset in."""
    run = Run(
        id=ids.new("run"),
        tenant=tenant,
        kind="intake",
        teacher=teacher,
        dataset=dataset,
        slot=f"{teacher or dataset}/intake",
        device_kind="host",  # it needs a core, not the device: it runs beside training
        priority=1000,  # seconds of work that others wait for
    )
    session.add(run)
    return run


def add_estimate(session: Session, tenant: str, spec: dict[str, Any]) -> Run:
    """A run that answers an estimate; it belongs to nothing and is removed when answered."""
    run_id = ids.new("run")
    run = Run(
        id=run_id, tenant=tenant, kind="estimate", spec=spec, slot=f"{run_id}/estimate",
        priority=1001,
    )  # fmt: skip
    session.add(run)
    return run


def add_for_job(session: Session, tenant: str, job: str, spec: ResolvedJob, *, ready: bool) -> None:
    """All runs of a job: one prepares, one trains each student, arm and seed, one reports."""
    shared = {
        "tenant": tenant,
        "job": job,
        "priority": spec.priority,
        "device_kind": spec.resources.device,
    }
    session.add(
        Run(id=ids.new("run"), kind="prepare", slot=f"{job}/prepare", ready=ready, **shared)
    )
    for student in spec.students:
        for arm in spec.arms:
            for seed in spec.seed_list:
                session.add(
                    Run(
                        id=ids.new("run"),
                        kind="train",
                        student=student.name,
                        arm=arm,
                        seed=seed,
                        slot=f"{job}/train/{student.name}/{arm}///{seed}",
                        ready=False,
                        **shared,
                    )
                )
    session.add(Run(id=ids.new("run"), kind="report", slot=f"{job}/report", ready=False, **shared))
    session.flush()


def make_ready(session: Session, job: str, kind: str) -> None:
    """Let a job's runs of a kind be claimed."""
    for run in session.scalars(
        select(Run).where(Run.job == job, Run.kind == kind, Run.status == "queued", ~Run.ready)
    ):
        run.ready = True


def claimable(devices: tuple[str, ...]) -> ColumnElement[bool]:
    """What may be claimed for these device kinds: "auto", "cpu", "cuda", or "host" (intake)."""
    return and_(
        Run.status == "queued",
        Run.ready,
        Run.not_before <= db_now(),
        Run.device_kind.in_(devices),
    )


def expired() -> ColumnElement[bool]:
    """Leases that ran out by the database's clock."""
    return and_(Run.status == "running", Run.lease_expires_at < db_now())


def anything_to_do(session: Session, devices: tuple[str, ...]) -> bool:
    """Whether a claim could succeed or a lease has run out. Only reads."""
    # Two questions, each an index look-up: in one WHERE they would read all runs ever made.
    found = or_(exists().where(claimable(devices)), exists().where(expired()))
    return bool(session.scalar(select(found)))


def waiting(session: Session, devices: tuple[str, ...], *, at_most: int) -> int:
    """How many runs a worker could claim now, counted up to a limit."""
    return len(session.scalars(select(Run.id).where(claimable(devices)).limit(at_most)).all())


def first_in_line(session: Session, devices: tuple[str, ...]) -> InLine | None:
    """The run that is claimed next; None if there is none."""
    # No index runs down in priority and up in ids; one step to each end of it does, at any length.
    highest = select(Run.priority).where(claimable(devices)).order_by(Run.priority.desc()).limit(1)
    found = session.execute(
        select(Run.id, Run.job)
        .where(claimable(devices), Run.priority == highest.scalar_subquery())
        .order_by(Run.id)
        .limit(1)
    ).one_or_none()
    return None if found is None else InLine(run=found.id, job=found.job)


def claim(
    session: Session, run_id: str, *, worker: str, device: str, devices: tuple[str, ...],
    lease_seconds: float,
) -> Run | None:  # fmt: skip
    """Take the lease of a run by compare-and-set; None if somebody else was faster."""
    return session.scalars(
        update(Run)
        .where(Run.id == run_id, claimable(devices))
        .values(
            status="running",
            fence=Run.fence + 1,
            attempts=Run.attempts + 1,
            worker=worker,
            device=device,
            lease_expires_at=db_now() + lease_seconds,
            started_at=time.time(),
            finished_at=None,
        )
        .returning(Run)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).one_or_none()


def beat(
    session: Session, run_id: str, fence: int, *, lease_seconds: float, progress: Progress | None
) -> bool:
    """Renew a lease and write where the run stands; False if it belongs to somebody else."""
    values: dict[str, Any] = {"lease_expires_at": db_now() + lease_seconds}
    if progress is not None:
        values |= {"step": progress.step, "steps": progress.steps, "epoch": progress.epoch}
    found = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.fence == fence, Run.status == "running")
        .values(values)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return found is not None


def is_live(session: Session, run_id: str, fence: str) -> bool:
    """Whether a claim, by run and fence, still holds."""
    if not fence.isdecimal():
        return False
    query = select(Run.id).where(Run.id == run_id, Run.fence == int(fence), Run.status == "running")
    return session.scalar(query) is not None


def held(session: Session, run_id: str, fence: int) -> Run | None:
    """The run, locked, if this fence still holds it."""
    return session.scalars(
        select(Run)
        .where(Run.id == run_id, Run.fence == fence, Run.status == "running")
        .with_for_update()
    ).one_or_none()


def end(
    run: Run,
    status: Ended,
    *,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> None:
    """Write how a run ended; its fence is closed."""
    run.status, run.result, run.error = status, result, error
    run.fence += 1
    run.finished_at = time.time()
    if status == "succeeded":
        run.step = run.steps


def requeue(run: Run, *, counted: bool, delay_seconds: float = 0.0) -> None:
    """Give a run back to the queue.

    Args:
        run: a running run.
        counted: whether this is a loss, which only progress forgives.
        delay_seconds: nobody claims it before.
    """
    if counted:
        run.losses = 1 if run.step > run.lost_step else run.losses + 1
        run.lost_step = max(run.step, run.lost_step)
    run.status, run.worker, run.fence = "queued", None, run.fence + 1
    run.not_before = time.time() + delay_seconds if delay_seconds else 0.0


def cancel_queued(session: Session, job: str) -> None:
    """Cancel what of a job nobody has claimed."""
    session.execute(
        update(Run)
        .where(Run.job == job, Run.status == "queued")
        .values(status="cancelled", finished_at=time.time())
        .execution_options(synchronize_session="fetch")
    )


def count(session: Session, job: str, status: str) -> int:
    """How many of a job's runs have a status."""
    return len(session.scalars(select(Run.id).where(Run.job == job, Run.status == status)).all())


def of_job(session: Session, job: str, *, kind: str | None = None) -> list[Run]:
    """A job's runs in the order of their making."""
    query = select(Run).where(Run.job == job).order_by(Run.id)
    return list(session.scalars(query if kind is None else query.where(Run.kind == kind)))


def add_checkpoint(session: Session, run: Run, *, step: int, sha256: str, size: int) -> list[str]:
    """Record a checkpoint; keeps the last two. Returns the hashes of those that went."""
    session.merge(Checkpoint(run=run.id, step=step, fence=run.fence, sha256=sha256, bytes=size))
    session.flush()
    rows = checkpoints(session, run.id)
    for old in rows[2:]:
        session.delete(old)
    kept = {row.sha256 for row in rows[:2]}
    return [old.sha256 for old in rows[2:] if old.sha256 not in kept]


def checkpoints(session: Session, run_id: str) -> list[Checkpoint]:
    """A run's checkpoints, newest first."""
    query = select(Checkpoint).where(Checkpoint.run == run_id).order_by(Checkpoint.step.desc())
    return list(session.scalars(query))


def drop_checkpoints(session: Session, run_id: str) -> list[str]:
    """Forget a run's checkpoints. Returns their hashes."""
    gone = [row.sha256 for row in checkpoints(session, run_id)]
    session.execute(delete(Checkpoint).where(Checkpoint.run == run_id))
    return gone


def add_metrics(session: Session, run_id: str, points: list[tuple[str, int, float]]) -> None:
    """Write points of curves; those of a replay replace the same ones."""
    for name, step, value in points:
        session.merge(Metric(run=run_id, name=name, step=step, value=value))


def add_log(session: Session, run_id: str, text: str) -> None:
    """Append to a run's log."""
    session.add(LogChunk(run=run_id, text=text.replace("\x00", "\N{REPLACEMENT CHARACTER}")))
