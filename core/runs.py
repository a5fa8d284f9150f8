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
from functools import cache
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, case, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from core import ids, line
from core.db import db_now
from core.tables import Checkpoint, LogChunk, Metric, Run

Ended = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands."""

    step: int
    steps: int
    epoch: int


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


def add_estimate(
    session: Session, tenant: str, resolved: dict[str, Any], variants: list[Any] | None
) -> Run:
    """A run that answers an estimate; it belongs to nothing and is removed when answered.

    Args:
        session: a writing transaction.
        tenant: who asks.
        resolved: what `plan.settle` found.
        variants: likewise.

    Returns:
        The run.
    """
    run_id = ids.new("run")
    run = Run(
        id=run_id,
        tenant=tenant,
        kind="estimate",
        spec=resolved | ({"variants": variants} if variants else {}),
        slot=f"{run_id}/estimate",
        device_kind=resolved["resources"]["device"],
        priority=1001,
    )
    session.add(run)
    return run


def make_ready(session: Session, job: str, kind: str, *, priority: int, device_kind: str) -> None:
    """Let a job's runs of a kind join the line behind the turn that is served."""
    session.execute(
        update(Run)
        .where(Run.job == job, Run.kind == kind, Run.status == "queued", ~Run.ready)
        .values(
            ready=True,
            device_kind=device_kind,
            turn=Run.turn + line.now(session, device_kind, priority),
        )
        .execution_options(synchronize_session=False)
    )


def move(session: Session, job: str, *, device_kind: str, before: int, after: int) -> None:
    """Let a job's runs go over to the line of another priority, as far behind its turn."""
    shift = line.now(session, device_kind, after) - line.now(session, device_kind, before)
    session.execute(
        update(Run)
        .where(Run.job == job, Run.status == "queued")
        .values(priority=after, turn=Run.turn + case((Run.ready, shift), else_=0))
        .execution_options(synchronize_session=False)
    )


def expired() -> ColumnElement[bool]:
    """Leases that ran out by the database's clock."""
    return and_(Run.status == "running", Run.lease_expires_at < db_now())


def anything_to_do(session: Session, kinds: tuple[str, ...]) -> bool:
    """Whether a claim could succeed or a lease has run out. Only reads."""
    return bool(session.scalar(_anything(kinds)))


@cache  # idle workers ask it all day
def _anything(kinds: tuple[str, ...]) -> Select[bool]:
    # Questions of their own, each an index look-up: one WHERE would read all runs ever made.
    return select(or_(line.is_waiting(kinds), exists().where(expired())))


def claim(
    session: Session, run_id: str, *, worker: str, device: str, devices: tuple[str, ...],
    lease_seconds: float,
) -> Run | None:  # fmt: skip
    """Take the lease of a run by compare-and-set; None if somebody else was faster."""
    return session.scalars(
        update(Run)
        .where(Run.id == run_id, line.claimable(devices))
        .values(
            status="running",
            fence=Run.fence + 1,
            attempts=Run.attempts + 1,
            worker=worker,
            device=device,
            lease_expires_at=db_now() + lease_seconds,
            started_at=db_now(),
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
    run.not_before = db_now() + delay_seconds if delay_seconds else 0.0


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
