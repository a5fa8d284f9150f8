"""The HTTP process: everything wired in one function."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import submitting
from app.api import (
    blobs,
    catalogue,
    datasets,
    details,
    diagnosis,
    errors,
    estimates,
    health,
    jobs,
    keys,
    later,
    metrics,
    openapi,
    students,
    teachers,
    workers,
)
from app.api.bodies import Bodies
from app.census import Census
from app.deps import ADMITTED, State
from app.doors import Doors
from app.metrics import Metrics
from app.readiness import Readiness
from app.requests import Requests
from app.views import Views
from app.watch import Watcher
from core.db import Database
from core.queue import Doorbell
from core.settings import Settings
from core.storage import Storage, open_storage
from stillhouse import __version__
from stillhouse.errors import StillhouseError

log = logging.getLogger(__name__)

# One request's, not the outage's: a thread that waits for the object store serves nobody else.
STORAGE_PATIENCE_SECONDS = 15.0


def create_app(settings: Settings, *, prepared: threading.Event | None = None) -> FastAPI:
    """The API over a database that is migrated, or will be when `prepared` is set."""
    database = Database(settings.database)
    storage = open_storage(settings, patience_seconds=STORAGE_PATIENCE_SECONDS)
    closing = threading.Event()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        preparing = threading.Thread(target=_prepare, args=(storage, closing), daemon=True)
        preparing.start()
        yield
        closing.set()
        await state.doors.close()
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
    doorbell = Doorbell(settings.broker_url)
    census = Census(
        database, storage=storage, doorbell=doorbell, lease_seconds=settings.lease_seconds
    )
    state = app.state.stillhouse = State(
        settings=settings,
        database=database,
        storage=storage,
        doorbell=doorbell,
        watcher=Watcher(database),
        doors=Doors(database),
        census=census,
        metrics=Metrics(census),
        readiness=Readiness(database, storage=storage, lease_seconds=settings.lease_seconds),
        intake=submitting.open_queue(database, lease_seconds=settings.lease_seconds),
        views=Views(database, lease_seconds=settings.lease_seconds),
        prepared=prepared,
    )
    app.add_middleware(Bodies, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(Requests, metrics=state.metrics)  # the last one added is the outermost
    errors.install(app)
    app.include_router(health.router)  # open: whoever asks for health has no key
    # What is asked for most comes first, since routes are tried in turn; but `estimate` stands
    # before the job routes: its path would be a job's id.
    for module in (
        estimates, jobs, details, students, teachers, datasets, blobs, catalogue, workers, keys,
        metrics, diagnosis, later,
    ):  # fmt: skip
        app.include_router(module.router, dependencies=[ADMITTED])
    app.router.routes[:0] = jobs.SHORTCUTS
    openapi.install(app, open_routes=health.router.routes)
    return app


def _prepare(storage: Storage, closing: threading.Event) -> None:
    """Make the place for files, as soon as it can be; until then /readyz says why not."""
    while not closing.is_set():
        try:
            storage.prepare()
        except (StillhouseError, OSError) as error:
            log.warning("the storage isn't there yet: %s", error)
            closing.wait(STORAGE_PATIENCE_SECONDS)
        else:
            return
