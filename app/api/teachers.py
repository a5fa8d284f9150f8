"""Teachers: networks with weights."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select

from app.api import answers, patching, schemas
from app.deps import After, Creator, Idempotency, Limit, State, StateDep, Tenant, Wait
from core import catalog, references
from core.tables import Teacher
from stillhouse.spec import TeacherSpec

router = APIRouter(prefix="/v1/teachers", tags=["teachers"])


@router.post("", status_code=202, operation_id="create_teacher")
def create(
    spec: TeacherSpec,
    request: Request,
    state: StateDep,
    tenant: Tenant,
    creator: Creator,
    claim: Idempotency,
) -> Response:
    """Take a teacher in; its bytes are checked on a worker."""
    references.require_allowed(spec, state.settings)
    made, replayed = answers.create(
        state,
        claim,
        lambda session: catalog.create_teacher(session, tenant, spec, created_by=creator).id,
    )
    state.doorbell.ring()
    return _answer(request, state, tenant, made, created=True, replayed=replayed)


@router.get("", operation_id="list_teachers")
def list_(
    request: Request, state: StateDep, tenant: Tenant, limit: Limit = 20, after: After = None
) -> Response:
    """Teachers, newest first."""
    with state.database.read() as session:
        query = select(Teacher).where(Teacher.tenant == tenant)
        rows = answers.newest(session, query, Teacher.id, after=after, limit=limit)
    return answers.page(request, rows, limit, schemas.teacher)


@router.get("/{teacher_id}", operation_id="get_teacher")
async def read(
    teacher_id: str, request: Request, state: StateDep, tenant: Tenant, wait: Wait
) -> Response:
    """One teacher."""

    def load() -> Teacher:
        return _load(state, tenant, teacher_id)

    await answers.hold(request, state, Teacher, teacher_id, load, wait=wait)
    return await run_in_threadpool(_answer, request, state, tenant, teacher_id)


@router.patch("/{teacher_id}", operation_id="patch_teacher")
def patch(
    teacher_id: str, changes: patching.Changes, request: Request, state: StateDep, tenant: Tenant
) -> Response:
    """Change name and metadata."""
    with state.database.write() as session:
        patching.apply(catalog.get_locked(session, Teacher, tenant, teacher_id), changes)
    return _answer(request, state, tenant, teacher_id)


@router.delete("/{teacher_id}", status_code=204, operation_id="delete_teacher")
def delete(teacher_id: str, state: StateDep, tenant: Tenant) -> Response:
    """Forget a teacher that no job names."""
    with state.database.write() as session:
        catalog.delete_teacher(session, tenant, teacher_id)
    return Response(status_code=204)


def _load(state: State, tenant: str, teacher_id: str) -> Teacher:
    with state.database.read() as session:
        return catalog.get(session, Teacher, tenant, teacher_id)


def _answer(
    request: Request,
    state: State,
    tenant: str,
    teacher_id: str,
    *,
    created: bool = False,
    replayed: bool = False,
) -> Response:
    row = _load(state, tenant, teacher_id)
    response = answers.one(request, row, schemas.teacher(row), status=202 if created else 200)
    return answers.mark(response, f"/v1/teachers/{row.id}" if created else None, replayed=replayed)
