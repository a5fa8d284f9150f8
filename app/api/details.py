"""What belongs to a job: events, runs, curves, logs, the report, its students."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.api import answers, schemas
from app.deps import After, Limit, StateDep, Tenant
from core import catalog, events, runs, students
from core.tables import Job, LogChunk, Metric, Run, Student
from stillhouse.errors import NotAvailable, NotFound

router = APIRouter(prefix="/v1", tags=["jobs"])


@router.get("/jobs/{job_id}/events", operation_id="list_job_events")
def list_events(
    job_id: str,
    request: Request,
    state: StateDep,
    tenant: Tenant,
    limit: Limit = 20,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> Response:
    """What happened to a job, oldest first."""
    if "text/event-stream" in request.headers.get("accept", ""):
        raise NotAvailable("Events as a stream are not available yet; read them as JSON.")
    with state.database.read() as session:
        catalog.get(session, Job, tenant, job_id)
        rows = events.page(session, job_id, after=after, limit=limit)
    return answers.page(request, rows, limit, schemas.event)


@router.get("/jobs/{job_id}/runs", operation_id="list_job_runs")
def list_runs(
    job_id: str,
    request: Request,
    state: StateDep,
    tenant: Tenant,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """A job's runs, in the order in which they are made."""
    with state.database.read() as session:
        catalog.get(session, Job, tenant, job_id)
        query = select(Run).where(Run.job == job_id).order_by(Run.id).limit(limit + 1)
        if after is not None:
            query = query.where(Run.id > after)
        rows = list(session.scalars(query))
    return answers.page(request, rows, limit, schemas.run)


@router.get("/jobs/{job_id}/metrics", operation_id="get_job_metrics")
def metrics(
    job_id: str,
    state: StateDep,
    tenant: Tenant,
    run: Annotated[str | None, Query(max_length=64)] = None,
    name: Annotated[str | None, Query(max_length=64)] = None,
    after_step: Annotated[int, Query(ge=-1, lt=2**63)] = -1,
    points: Annotated[int, Query(ge=2, le=10_000)] = 1_000,
) -> Response:
    """Curves by run and name, thinned to at most `points` values each."""
    query = (
        select(Metric.run, Metric.name, Metric.step, Metric.value)
        .join(Run, Run.id == Metric.run)
        .where(Run.job == job_id, Metric.step > after_step)
        .order_by(Metric.run, Metric.name, Metric.step)
    )
    if run is not None:
        query = query.where(Metric.run == run)
    if name is not None:
        query = query.where(Metric.name == name)
    with state.database.read() as session:
        catalog.get(session, Job, tenant, job_id)
        rows = session.execute(query).all()
    data = [
        {"run": key[0], "name": key[1], "points": _thin([[r[2], r[3]] for r in group], points)}
        for key, group in groupby(rows, key=lambda row: (row[0], row[1]))
    ]
    return JSONResponse({"object": "metrics", "job": job_id, "data": data})


@router.get("/jobs/{job_id}/logs", operation_id="get_job_logs")
def job_logs(job_id: str, state: StateDep, tenant: Tenant) -> Response:
    """The logs of a job's runs, one after the other."""
    with state.database.read() as session:
        catalog.get(session, Job, tenant, job_id)
        pieces = []
        for run in runs.of_job(session, job_id):
            text = _log(session, run.id)
            if text:
                where = " ".join(
                    str(item) for item in (run.student, run.arm, run.seed) if item is not None
                )
                pieces.append(f"== {run.id} {run.kind} {where}".rstrip() + f"\n{text}")
    return PlainTextResponse("\n".join(pieces))


@router.get("/runs/{run_id}/log", operation_id="get_run_log")
def run_log(
    run_id: str,
    state: StateDep,
    tenant: Tenant,
    tail: Annotated[int | None, Query(ge=1, le=100_000)] = None,
) -> Response:
    """A run's log, or its last lines."""
    with state.database.read() as session:
        found = session.get(Run, run_id)
        if found is None or found.tenant != tenant:
            raise NotFound(f"There is no run '{run_id[:64]}'.")
        text = _log(session, run_id)
    if tail is not None:
        text = "".join(text.splitlines(keepends=True)[-tail:])
    return PlainTextResponse(text)


@router.get("/jobs/{job_id}/report", operation_id="get_job_report")
def report(job_id: str, request: Request, state: StateDep, tenant: Tenant) -> Response:
    """The report of a job that has succeeded."""
    if request.headers.get("accept", "").startswith("text/html"):
        raise NotAvailable("The report as a page is not available yet; ask for JSON.")
    with state.database.read() as session:
        row = catalog.get(session, Job, tenant, job_id)
    if row.report is None:
        raise NotFound(f"The job is {row.status}; its report is written when it succeeds.")
    return answers.one(request, row, schemas.report(row))


@router.get("/jobs/{job_id}/students", operation_id="list_job_students")
def list_students(
    job_id: str,
    request: Request,
    state: StateDep,
    tenant: Tenant,
    limit: Limit = 20,
    after: After = None,
) -> Response:
    """A job's students, newest first."""
    with state.database.read() as session:
        catalog.get(session, Job, tenant, job_id)
        query = select(Student).where(Student.job == job_id)
        rows = answers.newest(session, query, Student.id, after=after, limit=limit)
    return answers.page(request, rows, limit, schemas.student)


@router.get("/jobs/{job_id}/best", operation_id="get_best_student")
def best(
    job_id: str,
    request: Request,
    state: StateDep,
    tenant: Tenant,
    max_latency_ms: Annotated[float | None, Query(gt=0)] = None,
    max_bytes: Annotated[int | None, Query(gt=0, lt=2**63)] = None,
) -> Response:
    """The best student by validation within a budget; the test part has no say."""
    with state.database.read() as session:
        job = catalog.get(session, Job, tenant, job_id)
        row = students.best(session, job_id, max_latency_ms=max_latency_ms, max_bytes=max_bytes)
    if row is None:
        raise NotFound(f"The job is {job.status}; it has no student within this budget.")
    return answers.one(request, row, schemas.student(row))


def _log(session: Session, run_id: str) -> str:
    query = select(LogChunk.text).where(LogChunk.run == run_id).order_by(LogChunk.id)
    return "".join(session.scalars(query))


def _thin(points: list[list[Any]], most: int) -> list[list[Any]]:
    """Evenly thinned, the first and the last point kept."""
    if len(points) <= most:
        return points
    stride = (len(points) - 1) / (most - 1)
    return [points[round(index * stride)] for index in range(most)]
