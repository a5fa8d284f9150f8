"""Jobs: submit, read, list, cancel, delete."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Select, and_, select, union_all
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import Session, aliased
from starlette.routing import Match, Route
from starlette.types import Scope

from app import deps
from app.api import answers, patching, schemas
from app.deps import After, Limit, State, StateDep, Tenant
from core import catalog, jobs, waiting
from core.submissions import Submission
from core.tables import Job, JobInput, JobLabel
from stillhouse.errors import SpecInvalid
from stillhouse.spec import JobSpec

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
MAX_FILTERS = 20  # a job has at most 16 pairs


@router.post("", status_code=201, operation_id="create_job")
async def create(spec: JobSpec, request: Request, state: StateDep) -> Response:
    """Submit a job."""
    who, claim = await deps.caller(request), await deps.idempotency(request)
    wait = await deps.wait_seconds(request)
    submission = Submission(who.tenant, spec, created_by=who.key)
    made = await state.intake.ask((submission, claim))
    state.doorbell.ring()
    job_id = made if isinstance(made, str) else made[0].id
    if wait > 0:
        await state.watcher.until(Job, job_id, changed_from=None, seconds=wait)
    if isinstance(made, str) or wait > 0:
        shown = await state.views.ask((who.tenant, job_id))
        response = answers.viewed(request, shown, status=201)
    else:
        response = answers.one(request, made[0], schemas.job(*made), status=201)
    return answers.mark(response, f"/v1/jobs/{job_id}", replayed=isinstance(made, str))


@router.get("", operation_id="list_jobs")
def list_(
    request: Request,
    state: StateDep,
    tenant: Tenant,
    limit: Limit = 20,
    after: After = None,
    status: Annotated[str | None, Query(max_length=32)] = None,
    teacher: Annotated[str | None, Query(max_length=64)] = None,
    dataset: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Jobs, newest first; `metadata[key]=value` filters too."""
    with state.database.read() as session:
        query, id_column = _filtered(session, request, tenant, status, teacher, dataset)
        rows = answers.newest(session, query, id_column, after=after, limit=limit)
    return answers.page(request, rows, limit, _listed)


@router.get("/{job_id}", operation_id="get_job")
async def read(job_id: str, request: Request) -> Response:
    """One job."""
    state, tenant = await deps.state(request), await deps.tenant(request)
    wait = await deps.wait_seconds(request)

    def load() -> Job:
        with state.database.read() as session:
            return catalog.get(session, Job, tenant, job_id)

    await answers.hold(request, state, Job, job_id, load, wait=wait)
    shown = await state.views.ask((tenant, job_id))
    return answers.viewed(request, shown)


async def _create_at_once(request: Request) -> Response:
    request.scope["route"] = SHORTCUTS[0]
    await deps.admit(request)
    return await create(_spec_of(request), request, await deps.state(request))


async def _read_at_once(request: Request) -> Response:
    request.scope["route"] = SHORTCUTS[1]  # as FastAPI's routes do, for the log and the metrics
    await deps.admit(request)
    return await read(request.path_params["job_id"], request)


def _spec_of(request: Request) -> JobSpec:
    """The body's spec, refused as FastAPI refuses it."""
    found: list[Any]
    try:
        return _SPEC.validate_python(request.scope["stillhouse.json"])
    except KeyError:
        found = [{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}]
    except ValidationError as error:
        found = [
            {**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)
        ]
    raise RequestValidationError(found)


class _Shortcut(Route):
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Of other methods it knows nothing: a 405 is the whole path's to answer."""
        match, found = super().matches(scope)
        return (match if match is Match.FULL else Match.NONE), found


_SPEC = TypeAdapter(JobSpec)
SHORTCUTS = (
    _Shortcut("/v1/jobs", _create_at_once, methods=["POST"]),
    _Shortcut("/v1/jobs/{job_id}", _read_at_once, methods=["GET"]),
)
"""`create` and `read`, asked for more than all else together, past FastAPI's finding of routes and
parameters: that costs more than the answer."""
SHORTCUTS[1].methods = {"GET"}  # and no HEAD, which Starlette adds


@router.patch("/{job_id}", operation_id="patch_job")
def patch(
    job_id: str, changes: patching.JobChanges, request: Request, state: StateDep, tenant: Tenant
) -> Response:
    """Change name, metadata and priority."""
    with state.database.write() as session:
        row = catalog.get_locked(session, Job, tenant, job_id)
        patching.apply(row, changes)
        if changes.metadata is not None:
            _relabel(session, row)
        if changes.priority is not None:
            jobs.set_priority(session, row, changes.priority)
    return _answer(request, state, tenant, job_id)


@router.post("/{job_id}/cancel", status_code=202, operation_id="cancel_job")
def cancel(job_id: str, request: Request, state: StateDep, tenant: Tenant) -> Response:
    """Cancel a job."""
    with state.database.write() as session:
        jobs.cancel(session, catalog.get_locked(session, Job, tenant, job_id))
    return _answer(request, state, tenant, job_id, 202)


@router.delete("/{job_id}", status_code=204, operation_id="delete_job")
def delete(
    job_id: str, state: StateDep, tenant: Tenant, *, cascade: Annotated[bool, Query()] = False
) -> Response:
    """Forget a job that is over."""
    with state.database.write() as session:
        catalog.delete_job(session, tenant, job_id, cascade=cascade)
    return Response(status_code=204)


def _listed(row: Job) -> schemas.Answer:
    return schemas.job(row, waiting.at_a_glance(row))


def _answer(
    request: Request, state: State, tenant: str, job_id: str, status: int = 200
) -> Response:
    """Read a job and, if it waits, what for."""
    lease_seconds = state.settings.lease_seconds
    with state.database.read() as session:
        row = catalog.get(session, Job, tenant, job_id)
        why = waiting.of_job(session, row, lease_seconds=lease_seconds)
    return answers.one(request, row, schemas.job(row, why), status=status)


def _filtered(
    session: Session,
    request: Request,
    tenant: str,
    status: str | None,
    teacher: str | None,
    dataset: str | None,
) -> tuple[Select[Job], Any]:
    """The query, and the column that its index holds in order: a label's, if one is asked for."""
    query = select(Job).where(Job.tenant == tenant)
    id_column: Any = Job.id
    if status is not None:
        if status not in jobs.STATUSES:
            known = ", ".join(jobs.STATUSES)
            raise SpecInvalid(f"A status is one of {known}.", field="status")
        # A range of one, in its own order: told that nearly all jobs are over, PostgreSQL would
        # rather walk by id past whatever else is newer, however much that is.
        query = query.where(Job.status.between(status, status))
    if teacher is not None:
        query = query.where(_builds_on(session, Job.teacher, teacher))
    if dataset is not None:
        query = query.where(_builds_on(session, Job.dataset, dataset))
    filters = request.query_params.multi_items()
    if len(filters) > MAX_FILTERS:
        raise SpecInvalid(f"Ask for at most {MAX_FILTERS} things at once.", field="metadata")
    for name, value in filters:
        found = _METADATA.fullmatch(name)
        if found is not None:
            label = aliased(JobLabel)
            query = query.join(
                label,
                and_(
                    label.job == Job.id,
                    label.tenant == tenant,
                    label.key == found.group(1),
                    label.value == value,
                ),
            )
            id_column = label.job
    if status is not None and id_column is Job.id:
        query = query.order_by(Job.status.desc())
    return query, id_column


def _builds_on(session: Session, own: Any, named: str) -> Any:
    """Whether a job builds on an object: its own column says so, or a row beside it.

    Most objects are in no such row. Not asked about them, the index gives a page as it is.
    """
    beside = select(JobInput.job).where(JobInput.object == named)
    if session.scalar(beside.limit(1)) is None:
        return own == named
    return Job.id.in_(union_all(select(Job.id).where(own == named), beside))


def _relabel(session: Session, row: Job) -> None:
    session.execute(sql_delete(JobLabel).where(JobLabel.job == row.id))
    for key, value in row.labels.items():
        session.add(JobLabel(job=row.id, key=key, value=value, tenant=row.tenant))
