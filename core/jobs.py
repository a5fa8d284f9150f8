"""Jobs: what a user asked for, and the only writer of its status.

    queued      nothing has started
    preparing   it waits for its inputs, or its prepare run is at work
    running     students are trained, or the report is made
    cancelling  a cancel was asked for; a worker is being told
    succeeded   students are final, the report is written
    failed      `error` says why
    cancelled   it was cancelled

A status is derived in the transaction that changes the run behind it.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import events, inputs, plan, runs
from core.db import db_now
from core.inputs import Inputs
from core.tables import Job, Run, Teacher
from stillhouse.errors import (
    InputRejected,
    JobIsOver,
    JobIsRunning,
    Refused,
    StillhouseError,
)
from stillhouse.spec import JobSpec, ResolvedJob, planned, variants
from stillhouse.spec.planned import TrainRun

TERMINAL = ("succeeded", "failed", "cancelled")
STATUSES = ("queued", "preparing", "running", "paused", "cancelling", *TERMINAL)
Kind = Literal["distill", "train"]


def input_changed(session: Session, *, teacher: str = "", dataset: str = "") -> None:
    """Let the jobs that waited for a teacher or dataset go on, or fail with it."""
    waiting = select(Job).where(
        Job.status.in_(("queued", "preparing")),
        Job.resolved.is_(None),
        inputs.names(teacher=teacher, dataset=dataset),
    )
    # In one order wherever several jobs are locked, so that no two wait for each other.
    for job in session.scalars(waiting.order_by(Job.id).with_for_update()):
        _go_on(session, job)


def cancel(session: Session, job: Job) -> Job:
    """Cancel a job; asked again it changes nothing.

    Args:
        session: a writing transaction.
        job: the job, locked: a finish that comes first wins.

    Returns:
        The job.

    Raises:
        JobIsOver: if it has ended otherwise.
    """
    if job.status == "cancelled":
        raise JobIsOver("The job was cancelled.")
    if job.status in TERMINAL:
        raise JobIsOver(f"The job has {job.status}; its end can't be changed.")
    if job.status == "cancelling":
        return job
    runs.cancel_queued(session, job.id)
    events.add(session, job.id, "cancel_requested", "A cancel was asked for.")
    if runs.count(session, job.id, "running"):
        job.status = "cancelling"
        job.version += 1
    else:
        _end(session, job, "cancelled", "The job was cancelled.")
    return job


def set_priority(session: Session, job: Job, priority: int) -> None:
    """Move a job in the queue; runs that are at work stay at work."""
    device = _device(job)
    runs.move(session, job.id, device_kind=device, before=job.priority, after=priority)
    job.priority = priority


def require_over(job: Job) -> Job:
    """The job, if it has ended.

    Raises `JobIsRunning` if it hasn't.
    """
    if job.status not in TERMINAL:
        raise JobIsRunning
    return job


def run_claimed(session: Session, job: Job, run: Run) -> None:
    """A worker took one of its runs."""
    job.started_at = job.started_at or run.started_at
    job.attempts = max(job.attempts, run.attempts)
    if job.status == "queued" and run.kind == "prepare":
        job.status = "preparing"
        events.add(session, job.id, "preparing", "Networks and data are being checked.")
    job.version += 1


def prepared(session: Session, job: Job, result: dict[str, Any], *, device: str) -> None:
    """The prepare run found nothing wrong on a kind of device: training may begin there."""
    plan.prepare(job, result, device=device)
    job.prepared = result
    job.status, job.training_at = "running", time.time()
    job.version += 1
    _make_ready(session, job, "train")
    events.add(session, job.id, "running", "Training may begin.")


def run_ended(session: Session, job: Job, run: Run) -> None:
    """One of its runs ended: go on to the report, or end with it."""
    if job.status == "cancelling":
        _cancelled_when_idle(session, job)
        return
    if run.status == "failed":
        error = dict(run.error or {}) | ({} if run.kind == "prepare" else {"run": run.id})
        events.add(
            session, job.id, "run_failed", str(error.get("detail", "")), level="error", run=run.id,
            data=error,
        )  # fmt: skip
        over = run.kind != "train" or error.get("code") == "time_limit"
        if over or _hopeless(session, job, run):
            fail(session, job, error)
            return
    left = [each for each in runs.of_job(session, job.id, kind="train") if _is_open(each)]
    if run.kind == "train" and not left:
        _make_ready(session, job, "report")
    job.version += 1


def fail(session: Session, job: Job, error: dict[str, Any]) -> None:
    """End a job that can't succeed any more; what still runs of it is told by its heartbeat."""
    job.error = error
    runs.cancel_queued(session, job.id)
    _end(session, job, "failed", str(error.get("detail", "The job failed.")), level="error")


def succeed(session: Session, job: Job, result: dict[str, Any], report: dict[str, Any]) -> None:
    """Write the result: the job is over."""
    job.result, job.report = result, report
    job.step, job.eta_seconds = job.steps, 0.0
    _end(session, job, "succeeded", "The students are final and the report is written.")


def add_progress(session: Session, job_id: str) -> None:
    """Sum up where a job's training runs stand."""
    totals = select(func.coalesce(func.sum(Run.step), 0), func.coalesce(func.max(Run.epoch), 0))
    found = session.execute(totals.where(Run.job == job_id, Run.kind == "train")).one()
    step, epoch = int(found[0]), int(found[1])  # PostgreSQL sums integers to a decimal
    job = session.get(Job, job_id)
    if job is None or job.status in TERMINAL:
        return
    eta = job.eta_seconds
    if job.training_at is not None and step > 0:
        eta = (time.time() - job.training_at) * max(job.steps - step, 0) / step
    session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status.not_in(TERMINAL))
        .values(step=step, epoch=epoch, eta_seconds=eta, version=Job.version + 1)
        .execution_options(synchronize_session=False)
    )


def must_stop(session: Session, job_id: str) -> str | None:
    """Why a running run of this job has to stop: "cancel", "deadline", or None."""
    row = session.execute(
        select(
            Job.status, (db_now() - Job.started_at).label("seconds"), Job.deadline_seconds
        ).where(Job.id == job_id)
    ).one_or_none()
    if row is None or row.status == "cancelling" or row.status in TERMINAL:
        return "cancel"
    if row.seconds is not None and row.seconds > row.deadline_seconds:
        return "deadline"
    return None


def settle(job: Job, spec: JobSpec, to_train: list[TrainRun], found: Inputs) -> None:
    """Write what a spec comes to, once its inputs are ready.

    Raises what `plan.settle` does.
    """
    job.resolved, job.variants = plan.settle(spec, found)
    job.steps = plan.steps(job, to_train, found)


def _go_on(session: Session, job: Job) -> None:
    found = inputs.of_job(session, job)
    for kind, one in found.each():
        if one.status == "rejected":
            why = (one.error or {}).get("detail", "")
            what = f"Its {kind} {one.id}" if kind != "transfer" else f"Its transfer set {one.id}"
            code = "dataset_rejected" if kind == "transfer" else f"{kind}_rejected"
            fail(session, job, {"code": code, "detail": f"{what} was rejected: {why}"})
            return
    if not found.are_ready:
        return
    spec_type = JobSpec if job.kind == "distill" else ResolvedJob
    try:
        spec = spec_type.model_validate(job.spec)
        settle(job, spec, planned.runs(variants.expand(spec)), found)
    except (Refused, InputRejected) as error:
        fail(session, job, error_of(error))
        return
    job.version += 1
    _make_ready(session, job, "prepare")


def error_of(error: StillhouseError) -> dict[str, Any]:
    """An error as the object that a job shows."""
    if isinstance(error, InputRejected):
        return error.as_dict()
    shown = {"code": error.code, "detail": error.detail}
    return shown | ({"field": error.field} if error.field else {})


def _make_ready(session: Session, job: Job, kind: str) -> None:
    device = _device(job)
    runs.make_ready(session, job.id, kind, priority=job.priority, device_kind=device)


def _device(job: Job) -> str:
    """The kind of device that it is for, or "auto" while no worker has begun with it."""
    return str((job.resolved or job.spec).get("resources", {}).get("device", "auto"))


def _hopeless(session: Session, job: Job, run: Run) -> bool:
    """Whether this student's main arm has no run left that could succeed, in any variant."""
    arm = "distilled" if job.kind == "distill" else "no_teacher"
    if run.arm != arm:
        return False
    same = [
        each
        for each in runs.of_job(session, job.id, kind="train")
        if (each.student, each.arm) == (run.student, arm)
    ]
    return all(each.status in ("failed", "cancelled") for each in same)


def _is_open(run: Run) -> bool:
    return run.status in ("queued", "running")


def _cancelled_when_idle(session: Session, job: Job) -> None:
    session.flush()
    if not runs.count(session, job.id, "running"):
        _end(session, job, "cancelled", "The job was cancelled.")


def _end(
    session: Session,
    job: Job,
    status: Literal["succeeded", "failed", "cancelled"],
    message: str,
    *,
    level: events.Level = "info",
) -> None:
    job.status, job.finished_at = status, time.time()
    job.version += 1
    events.add(session, job.id, status, message, level=level)
    if job.kind == "train" and status != "succeeded":
        _teacher_was_not_trained(session, job)


def _teacher_was_not_trained(session: Session, job: Job) -> None:
    for teacher in session.scalars(select(Teacher).where(Teacher.job == job.id)):
        teacher.status = "rejected"
        teacher.error = {"code": "not_trained", "detail": f"The job that trains it {job.status}."}
        teacher.version += 1
        session.flush()
        input_changed(session, teacher=teacher.id)
