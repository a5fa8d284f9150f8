"""Students: what is served."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select

from app.api import answers, patching, schemas, streaming
from app.deps import After, Limit, StateDep, Tenant
from core import catalog
from core.tables import Student
from stillhouse.errors import NotFound

router = APIRouter(prefix="/v1/students", tags=["students"])

Filter = Annotated[str | None, Query(max_length=64)]


@router.get("", operation_id="list_students")
def list_(
    request: Request,
    state: StateDep,
    tenant: Tenant,
    limit: Limit = 20,
    after: After = None,
    job: Filter = None,
    teacher: Filter = None,
    dataset: Filter = None,
    arm: Filter = None,
) -> Response:
    """Students, newest first."""
    query = select(Student).where(Student.tenant == tenant)
    filters = {
        Student.job: job, Student.teacher: teacher, Student.dataset: dataset, Student.arm: arm,
    }  # fmt: skip
    for column, value in filters.items():
        if value is not None:
            query = query.where(column == value)
    with state.database.read() as session:
        rows = answers.newest(session, query, Student.id, after=after, limit=limit)
    return answers.page(request, rows, limit, schemas.student)


@router.get("/{student_id}", operation_id="get_student")
def read(student_id: str, request: Request, state: StateDep, tenant: Tenant) -> Response:
    """One student."""
    with state.database.read() as session:
        row = catalog.get(session, Student, tenant, student_id)
    return answers.one(request, row, schemas.student(row))


@router.patch("/{student_id}", operation_id="patch_student")
def patch(
    student_id: str, changes: patching.Changes, request: Request, state: StateDep, tenant: Tenant
) -> Response:
    """Change name and metadata."""
    with state.database.write() as session:
        row = catalog.get_locked(session, Student, tenant, student_id)
        patching.apply(row, changes)
    return answers.one(request, row, schemas.student(row))


@router.head("/{student_id}/files/{path:path}", include_in_schema=False)
@router.get("/{student_id}/files/{path:path}", operation_id="get_student_file")
def file(student_id: str, path: str, request: Request, state: StateDep, tenant: Tenant) -> Response:
    """One file; whole, or one range of it."""
    with state.database.read() as session:
        row = catalog.get(session, Student, tenant, student_id)
    found = next((item for item in row.files if item["path"] == path), None)
    if found is None:
        listed = ", ".join(item["path"] for item in row.files)
        raise NotFound(f"The student has no file '{path[:64]}'; it has {listed}.")
    return streaming.file(request, state, sha256=found["sha256"], size=found["bytes"], name=path)


@router.get("/{student_id}/archive", operation_id="get_student_archive")
def archive(student_id: str, state: StateDep, tenant: Tenant) -> Response:
    """All files as a tar."""
    with state.database.read() as session:
        row = catalog.get(session, Student, tenant, student_id)
    return streaming.archive(state.storage, row.files, name=row.id, made=row.created_at)


@router.delete("/{student_id}", status_code=204, operation_id="delete_student")
def delete(student_id: str, state: StateDep, tenant: Tenant) -> Response:
    """Forget a student."""
    with state.database.write() as session:
        catalog.delete_student(session, tenant, student_id)
    return Response(status_code=204)
