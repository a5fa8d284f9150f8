"""What needs no key: is the process alive, which version is it, are the parts that it needs?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select, text

from app.deps import State, StateDep
from core import workers
from core.tables import Worker
from stillhouse import __version__
from stillhouse.errors import StillhouseError

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/v1/version", operation_id="get_version")
async def version() -> dict[str, str]:
    """The service's version and the contract's."""
    return {"object": "version", "version": __version__, "api": "v1"}


@router.get("/readyz", operation_id="readyz")
def readyz(state: StateDep) -> Response:
    """200 with database and storage up; broker and workers are reported, not required."""
    checks: dict[str, Any] = {"database": _database(state), "storage": _storage(state)}
    ready = all(check == "ok" for check in checks.values())
    checks["broker"] = _broker(state)
    checks["workers"] = _workers(state) if checks["database"] == "ok" else None
    body = {"status": "ready" if ready else "not_ready", "checks": checks}
    headers = {} if ready else {"Retry-After": "2"}
    return JSONResponse(body, 200 if ready else 503, headers=headers)


def _database(state: State) -> str:
    try:
        with state.database.read() as session:
            session.execute(text("SELECT 1"))
    except Exception as error:  # noqa: BLE001  whatever it is, the answer is "not ready"
        return f"away: {type(error).__name__}"
    is_prepared = state.prepared is None or state.prepared.is_set()
    return "ok" if is_prepared else "not migrated yet"


def _storage(state: State) -> str:
    try:
        state.storage.check()
    except (OSError, StillhouseError) as error:
        return f"away: {error}"
    return "ok"


def _broker(state: State) -> str:
    if state.settings.broker_url is None:
        return "none"
    return {None: "not tried yet", True: "ok", False: "away"}[state.doorbell.is_reachable]


def _workers(state: State) -> int:
    alive = Worker.last_seen_at > workers.alive_since(state.settings.lease_seconds)
    with state.database.read() as session:
        return len(session.scalars(select(Worker.id).where(alive)).all())
