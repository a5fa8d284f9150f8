"""What routes are given: the state of the process, and whose request it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Query, Request

from app.watch import Watcher
from core.db import Database
from core.idempotency import Claim
from core.queue import Doorbell
from core.settings import Settings
from core.storage import Storage
from stillhouse.errors import SpecInvalid


@dataclass(frozen=True, slots=True)
class State:
    """One per process."""

    settings: Settings
    database: Database
    storage: Storage
    doorbell: Doorbell
    watcher: Watcher


def state(request: Request) -> State:
    """The process's state."""
    return cast(State, request.app.state.stillhouse)


def tenant(request: Request) -> str:
    """Whose objects this request sees. Without keys there is one tenant."""
    del request
    return "default"


def idempotency(request: Request, whose: Annotated[str, Depends(tenant)]) -> Claim | None:
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
    return Claim(tenant=whose, path=request.url.path, key=key, body_sha256=digest)


def wait_seconds(request: Request) -> float:
    """N of `Prefer: wait=N`, at most 60; 0 without one (RFC 7240 says: ignore what is unknown)."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            name, _, value = (part.strip() for part in preference.partition("="))
            if name.lower() == "wait" and value.isascii() and value.isdecimal():
                return min(float(value), 60.0)
    return 0.0


StateDep = Annotated[State, Depends(state)]
Tenant = Annotated[str, Depends(tenant)]
Idempotency = Annotated[Claim | None, Depends(idempotency)]
Wait = Annotated[float, Depends(wait_seconds)]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=64)]
