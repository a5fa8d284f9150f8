"""What needs no key: is the process alive, which version is it, are the parts that it needs?"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.deps import State, StateDep
from stillhouse import __version__

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
async def readyz(state: StateDep) -> Response:
    """200 with database and storage up; broker and workers are reported, not required."""
    database, storage = await asyncio.gather(
        state.readiness.database.answer(), state.readiness.storage.answer()
    )
    is_prepared = state.prepared is None or state.prepared.is_set()
    if database == "ok" and not is_prepared:
        database = "not migrated yet"
    checks: dict[str, Any] = {"database": database, "storage": storage}
    ready = all(check == "ok" for check in checks.values())
    checks["broker"] = _broker(state)
    checks["workers"] = await state.readiness.workers.answer() if database == "ok" else None
    body = {"status": "ready" if ready else "not_ready", "checks": checks}
    headers = {} if ready else {"Retry-After": "2"}
    return JSONResponse(body, 200 if ready else 503, headers=headers)


def _broker(state: State) -> str:
    if state.settings.broker_url is None:
        return "none"
    return {None: "not tried yet", True: "ok", False: "away"}[state.doorbell.is_reachable]
