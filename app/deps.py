"""What routes are given: the state of the process, and whose request it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Query, Request

from app import submitting
from app.batches import Batches
from app.census import Census
from app.doors import ANYBODY, Caller, Doors
from app.metrics import Metrics
from app.readiness import Readiness
from app.views import Views
from app.watch import Watcher
from core.db import Database
from core.idempotency import Claim
from core.queue import Doorbell
from core.settings import Settings
from core.storage import Storage
from stillhouse.errors import SpecInvalid, Unavailable


@dataclass(frozen=True, slots=True)
class State:
    """One per process."""

    settings: Settings
    database: Database
    storage: Storage
    doorbell: Doorbell
    watcher: Watcher
    doors: Doors
    census: Census
    metrics: Metrics
    readiness: Readiness
    intake: Batches[submitting.Asked, submitting.Made]
    views: Views
    prepared: threading.Event | None
    """Set when the database is migrated; None: it was when this began."""


# FastAPI runs what isn't async in a thread, and the way there costs more than these do.


async def state(request: Request) -> State:
    """The process's state."""
    return cast(State, request.app.state.stillhouse)


async def admit(request: Request) -> None:
    """What stands before every route that isn't open: `read` to look, `submit` to change.

    Raises `Unauthorized` or `TooManyAttempts` if keys are asked for and this one isn't good;
    `ScopeMissing` if it may not; `Unavailable` while nobody can know.
    """
    who = await _identify(request)
    who.require("read" if request.method in ("GET", "HEAD") else "submit")
    request.scope["stillhouse.caller"] = who


async def caller(request: Request) -> Caller:
    """Who was admitted: `admit` comes first on every route that has somebody's objects."""
    return cast(Caller, request.scope["stillhouse.caller"])


async def _identify(request: Request) -> Caller:
    here = await state(request)
    if here.settings.auth == "off":
        return ANYBODY
    if here.prepared is not None and not here.prepared.is_set():
        raise Unavailable("The service is starting; try again.")  # its first key isn't in yet
    address = request.client.host if request.client else ""
    found = await here.doors.admit(_bearer(request), address)
    request.scope["stillhouse.key"] = found.key  # for the log
    return found


def _bearer(request: Request) -> str | None:
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    return shown.strip() if shown and scheme.lower() == "bearer" else None


async def admit_admin(request: Request) -> None:
    """What stands before the operator's routes.

    Raises `ScopeMissing` if the key may not.
    """
    (await caller(request)).require("admin")


async def tenant(request: Request) -> str:
    """Whose objects this request sees. Without keys there is one tenant."""
    return (await caller(request)).tenant


async def creator(request: Request) -> str | None:
    """The key that what is made now is `created_by`."""
    return (await caller(request)).key


async def idempotency(request: Request) -> Claim | None:
    """The request's Idempotency-Key, if it has one.

    Raises `SpecInvalid` if the key is longer than 255 characters or not printable.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= 255 or not key.isprintable():
        raise SpecInvalid(
            "Take 1 to 255 printable characters as the Idempotency-Key.", field="Idempotency-Key"
        )
    digest = request.scope["stillhouse.body_sha256"]
    whose = await tenant(request)
    return Claim(tenant=whose, path=request.url.path, key=key, body_sha256=digest)


async def wait_seconds(request: Request) -> float:
    """N of `Prefer: wait=N`, at most 60; 0 without one (RFC 7240 says: ignore what is unknown)."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            name, _, value = (part.strip() for part in preference.partition("="))
            if name.lower() == "wait" and value.isascii() and value.isdecimal():
                return min(float(value), 60.0)
    return 0.0


ADMITTED = Depends(admit)
ADMIN = Depends(admit_admin)
StateDep = Annotated[State, Depends(state)]
Tenant = Annotated[str, Depends(tenant)]
CallerDep = Annotated[Caller, Depends(caller)]
Creator = Annotated[str | None, Depends(creator)]
Idempotency = Annotated[Claim | None, Depends(idempotency)]
Wait = Annotated[float, Depends(wait_seconds)]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=64)]
