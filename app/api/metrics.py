"""Figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.deps import StateDep

router = APIRouter(tags=["health"])


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request, state: StateDep) -> Response:
    """Prometheus' text format; 200 whatever is away, since that is what it tells."""
    await state.census.look()
    accept = request.headers.get("accept", "")
    text, media_type = await run_in_threadpool(state.metrics.expose, accept)
    return Response(text, headers={"Content-Type": media_type})
