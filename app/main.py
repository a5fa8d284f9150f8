"""The HTTP process: everything wired in one function."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import (
    blobs,
    catalogue,
    datasets,
    details,
    errors,
    estimates,
    health,
    jobs,
    later,
    openapi,
    students,
    teachers,
)
from app.api.bodies import Bodies
from app.deps import State
from app.watch import Watcher
from core.db import Database
from core.queue import Doorbell
from core.settings import Settings
from core.storage import Storage
from stillhouse import __version__


def create_app(settings: Settings) -> FastAPI:
    """The API over a migrated database."""
    database = Database(settings.database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        database.close()

    app = FastAPIOffline(  # /docs without a content network
        docs_url="/docs",
        redoc_url=None,
        title="Stillhouse",
        version=__version__,
        summary="Model distillation as a service.",
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.redirect_slashes = False  # an unknown path is a 404, with or without a slash
    app.state.stillhouse = State(
        settings=settings,
        database=database,
        storage=Storage(settings.storage_root, min_free_bytes=settings.min_free_bytes),
        doorbell=Doorbell(settings.broker_url),
        watcher=Watcher(database),
    )
    app.add_middleware(Bodies, max_body_bytes=settings.max_body_bytes)
    errors.install(app)
    # `estimate` stands before the job routes: its path would be a job's id.
    for module in (
        health, blobs, teachers, datasets, estimates, jobs, details, students, catalogue, later,
    ):  # fmt: skip
        app.include_router(module.router)
    openapi.install(app)
    return app
