"""What a supervisor may do with a run: take it, keep it, and end it one way or another.

Each function is one transaction's work under the run's fence. One that finds the
fence closed changes nothing and says so: the run belongs to somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import catalog, events, files, jobs, line, publication, runs, workers
from core.line import Entry
from core.tables import Job, Run

MAX_LOSSES = 5

Order = Literal["continue", "cancel", "deadline", "lost"]


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed run."""

    run: Run
    fence: int
    lease_seconds: float


def take(
    session: Session, *, worker: str, device: str, devices: tuple[str, ...], lease_seconds: float
) -> Lease | None:
    """Claim the first run in line; None if there is none, or the worker drains.

    A run's job is locked first, as wherever a queued run is changed: two transactions that
    lock in different orders would wait for each other. For the same reason nothing of a try
    that failed is held while the next one waits. A job that somebody else has locked is passed
    over; it is waited for only when there is no other.
    """
    if workers.is_draining(session, worker):
        return None
    claim = partial(
        runs.claim, session, worker=worker, device=device, devices=devices,
        lease_seconds=lease_seconds,
    )  # fmt: skip
    while first := line.front(session, devices):
        for entry, waits in (*((each, False) for each in first), (first[0], True)):
            with session.begin_nested() as attempt:
                run = _claimed(session, entry, claim, waits=waits)
                if run is not None:
                    return Lease(run=run, fence=run.fence, lease_seconds=lease_seconds)
                attempt.rollback()
    return None


def _claimed(
    session: Session, entry: Entry, claim: Callable[[str], Run | None], *, waits: bool
) -> Run | None:
    job = _locked(session, entry.job, skip_locked=not waits)
    if job is None and entry.job is not None:
        return None
    run = claim(entry.run)
    if run is not None and job is not None:
        jobs.run_claimed(session, job, run)
    return run


def beat(session: Session, lease: Lease, progress: runs.Progress | None) -> Order:
    """Renew the lease and learn what to do."""
    kept = runs.beat(
        session, lease.run.id, lease.fence, lease_seconds=lease.lease_seconds, progress=progress
    )
    if not kept:
        return "lost"
    if lease.run.job is None:
        return "continue"
    if progress is not None and lease.run.kind == "train":
        jobs.add_progress(session, lease.run.job)
    match jobs.must_stop(session, lease.run.job):
        case "cancel":
            return "cancel"
        case "deadline":
            return "deadline"
        case _:
            return "continue"


def succeed(
    session: Session, lease: Lease, result: dict[str, Any], listed: list[dict[str, Any]]
) -> list[str] | None:
    """End a run well, with what it made.

    Args:
        session: the transaction that also publishes the files.
        lease: the claim.
        result: the child's result.
        listed: files, already in the storage: {path, sha256, bytes}.

    Returns:
        Hashes of checkpoints that may go; None if the run belongs to somebody else.
    """
    run = runs.held(session, lease.run.id, lease.fence)
    if run is None:
        return None
    job = _locked(session, run.job)
    if job is not None and _is_called_off(job):
        return _end_cancelled(session, run, job)  # a finish that races a cancel loses
    for file in listed:
        files.note(session, file["sha256"], file["bytes"])
    runs.end(run, "succeeded", result=result)
    session.flush()
    publication.publish(session, run, job, result, listed)
    if job is not None:
        jobs.add_progress(session, job.id)
        session.refresh(job)
        jobs.run_ended(session, job, run)
    return _drop_checkpoints(session, run)


def fail(session: Session, lease: Lease, error: dict[str, Any]) -> list[str] | None:
    """End a run badly; returns what `succeed` does."""
    run = runs.held(session, lease.run.id, lease.fence)
    if run is None:
        return None
    return _fail(session, run, error)


def cancel(session: Session, lease: Lease) -> list[str] | None:
    """End a run whose job was cancelled or has failed; returns what `succeed` does."""
    run = runs.held(session, lease.run.id, lease.fence)
    if run is None:
        return None
    return _end_cancelled(session, run, _locked(session, run.job))


def give_back(session: Session, lease: Lease, *, reason: str, delay_seconds: float = 0.0) -> None:
    """Requeue a run that was interrupted on purpose; it costs nothing."""
    run = runs.held(session, lease.run.id, lease.fence)
    if run is None or _ended_with_its_job(session, run):
        return
    _requeue(session, run, counted=False, delay_seconds=delay_seconds)
    events.add(session, run.job, "run_requeued", reason, run=run.id)


def lose(session: Session, lease: Lease, *, reason: str) -> None:
    """Requeue a run whose trainer died; too often without progress, and it fails."""
    run = runs.held(session, lease.run.id, lease.fence)
    if run is not None and not _ended_with_its_job(session, run):
        _lose(session, run, reason)


def expire(session: Session, *, worker: str | None = None) -> int:
    """Requeue the runs whose leases ran out; with `worker`, all that it was leased.

    Args:
        session: a writing transaction.
        worker: a worker that has just started and so can hold nothing.

    Returns:
        How many there were.
    """
    which = runs.expired() if worker is None else (Run.status == "running") & (Run.worker == worker)
    found = session.scalars(
        select(Run)
        .where(which)
        .order_by(Run.lease_expires_at, Run.id)  # as its index; by id alone all runs are read
        .limit(100)
        .with_for_update(skip_locked=True)
    ).all()
    # Their jobs are locked in one order wherever several are: no two wait for each other.
    for run in sorted(found, key=lambda run: (run.job or "", run.id)):
        if not _ended_with_its_job(session, run):
            _lose(session, run, "Its worker fell silent.")
    return len(found)


def _is_called_off(job: Job) -> bool:
    return job.status == "cancelling" or job.status in jobs.TERMINAL


def _ended_with_its_job(session: Session, run: Run) -> bool:
    """A run whose job needs it no longer isn't requeued: it ends, whether or not anybody works."""
    job = _locked(session, run.job)
    if job is None or not _is_called_off(job):
        return False
    _end_cancelled(session, run, job)
    return True


def _lose(session: Session, run: Run, reason: str) -> None:
    _requeue(session, run, counted=True)
    events.add(session, run.job, "run_lost", reason, level="warn", run=run.id)
    if run.losses >= MAX_LOSSES:
        detail = f"It was lost {run.losses} times without progress; the last time: {reason}"
        _fail(session, run, {"code": "crash_loop", "detail": detail})


def _requeue(session: Session, run: Run, *, counted: bool, delay_seconds: float = 0.0) -> None:
    runs.requeue(run, counted=counted, delay_seconds=delay_seconds)
    job = _locked(session, run.job)
    if job is not None:
        job.version += 1  # it may wait from here on, which whoever watches it will want to know


def _fail(session: Session, run: Run, error: dict[str, Any]) -> list[str]:
    runs.end(run, "failed", error=error)
    session.flush()
    job = _locked(session, run.job)
    if job is not None and job.status not in jobs.TERMINAL:
        jobs.run_ended(session, job, run)
    if run.kind == "intake":
        catalog.reject(session, publication.taken_in(session, run), error)
    return _drop_checkpoints(session, run)


def _end_cancelled(session: Session, run: Run, job: Job | None) -> list[str]:
    runs.end(run, "cancelled")
    session.flush()
    if job is not None and job.status == "cancelling":
        jobs.run_ended(session, job, run)
    return _drop_checkpoints(session, run)


def _drop_checkpoints(session: Session, run: Run) -> list[str]:
    hashes = dict.fromkeys(runs.drop_checkpoints(session, run.id))
    gone = [sha256 for sha256 in hashes if files.forget(session, sha256, run.id)]
    files.release(session, run.id)
    return gone


def _locked(session: Session, job: str | None, *, skip_locked: bool = False) -> Job | None:
    if job is None:
        return None
    query = select(Job).where(Job.id == job).with_for_update(skip_locked=skip_locked)
    return session.scalars(query).one_or_none()
