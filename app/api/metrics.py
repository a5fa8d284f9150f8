"""Figures for Prometheus."""

from __future__ import annotations

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response

from app.deps import StateDep

router = APIRouter(tags=["health"])

THREADS = 2  # apart from the others, which may all wait for a database that hangs
_limiter = CapacityLimiter(THREADS)


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(request: Request, state: StateDep) -> Response:
    """Prometheus' text format; 200 whatever is away, since that is what it tells."""
    await state.census.look()
    accept = request.headers.get("accept", "")
    text, media_type = await to_thread.run_sync(state.metrics.expose, accept, limiter=_limiter)
    return Response(text, headers={"Content-Type": media_type})
