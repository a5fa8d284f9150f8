"""What a job's address answers: asked for by many, it is looked up once and rendered once a change.

What a job waits for changes without the job (others leave the line, workers come and go), so
that an answer which says so is never kept. All else of it changes the job's version.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from fastapi.responses import JSONResponse
from sqlalchemy import bindparam, select

from app.api import schemas
from app.batches import Batches
from core import waiting
from core.db import Database
from core.tables import Job
from stillhouse.errors import NotFound

AT_MOST = 64
KEPT_BYTES = 32 * 1024**2

Asked = tuple[str, str]
"""A tenant, and the id of a job."""

_VERSIONS = select(Job.id, Job.version).where(Job.id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True, slots=True)
class View:
    """A job as it's answered."""

    tenant: str
    etag: str
    body: bytes
    version: int


class Views:
    """The newest answers, by job."""

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._kept: OrderedDict[str, View] = OrderedDict()  # one batch at a time looks at it
        self._bytes = 0
        self._batches: Batches[Asked, View] = Batches(self._look, at_most=AT_MOST)

    async def ask(self, asked: Asked) -> View:
        """A job; raises `NotFound` if the tenant has none of this id."""
        return await self._batches.ask(asked)

    def _look(self, asked: list[Asked]) -> list[View | Exception]:
        jobs = {job for _, job in asked}
        kept = self._still_true({job: self._kept[job] for job in jobs if job in self._kept})
        for job in kept:
            self._kept.move_to_end(job)
        views = {job: kept.get(job) or self._render(job) for job in jobs}
        return [self._answer(views[job], tenant, job) for tenant, job in asked]

    def _still_true(self, kept: dict[str, View]) -> dict[str, View]:
        if not kept:
            return {}
        with self._database.engine.connect() as connection:
            rows = connection.execute(_VERSIONS, {"ids": list(kept)}).all()
        return {row.id: kept[row.id] for row in rows if kept[row.id].version == row.version}

    def _render(self, job: str) -> View | None:
        with self._database.read() as session:
            row = session.get(Job, job)
            if row is None:
                return None
            why = waiting.of_job(session, row, lease_seconds=self._lease_seconds)
        view = View(
            tenant=row.tenant,
            etag=schemas.job_etag(row, why),
            body=bytes(JSONResponse(schemas.job(row, why)).body),
            version=row.version,
        )
        if why is None:
            self._keep(job, view)
        return view

    @staticmethod
    def _answer(view: View | None, tenant: str, job: str) -> View | Exception:
        if view is None or view.tenant != tenant:
            return NotFound(f"There is no job '{job[:64]}'.")
        return view

    def _keep(self, job: str, view: View) -> None:
        before = self._kept.pop(job, None)
        self._kept[job] = view
        self._bytes += len(view.body) - (len(before.body) if before else 0)
        while self._bytes > KEPT_BYTES:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= len(gone.body)
