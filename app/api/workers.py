"""Workers: list, drain, take back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select

from app.api import answers, schemas
from app.deps import ADMIN, Limit, State, StateDep
from core import workers
from core.tables import Worker

router = APIRouter(prefix="/v1/workers", tags=["workers"])


@router.get("", operation_id="list_workers")
def list_(
    request: Request,
    state: StateDep,
    limit: Limit = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """The workers, newest first."""
    with state.database.read() as session:
        rows = answers.newest(session, select(Worker), Worker.id, after=after, limit=limit)
    return answers.page(request, rows, limit, lambda row: _show(state, row))


@router.post(
    "/{worker_id}/drain", status_code=202, operation_id="drain_worker", dependencies=[ADMIN]
)
def drain(worker_id: str, state: StateDep) -> Response:
    """Let a worker finish the run that it has and take nothing new until it's started again."""
    with state.database.write() as session:
        row = workers.drain(session, worker_id)
    return JSONResponse(_show(state, row), 202)


@router.delete("/{worker_id}/drain", operation_id="undrain_worker", dependencies=[ADMIN])
def undrain(worker_id: str, state: StateDep) -> Response:
    """Let a draining worker go on."""
    with state.database.write() as session:
        row = workers.undrain(session, worker_id)
    state.doorbell.ring()
    return JSONResponse(_show(state, row))


def _show(state: State, row: Worker) -> schemas.Answer:
    status = workers.status_of(row, lost_after_seconds=state.settings.lease_seconds)
    return schemas.worker(row, status)
