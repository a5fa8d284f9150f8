"""Answers that several resources share: single objects with an ETag, and lists by keyset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.api import schemas
from app.deps import State
from app.views import View
from app.watch import Kind
from core import idempotency
from core.idempotency import Claim
from core.tables import Dataset, Job, Key, Student, Teacher

Row = Teacher | Dataset | Job | Student | Key


def matches(request: Request, tag: str) -> bool:
    """Whether If-None-Match names this ETag."""
    sent = request.headers.get("if-none-match")
    if sent is None:
        return False
    tags = _tags(sent)
    return "*" in tags or tag in tags


def _tags(header: str) -> list[str]:
    return [item.strip().removeprefix("W/") for item in header.split(",")]


def one(request: Request, row: Row, body: dict[str, Any], *, status: int = 200) -> Response:
    """A single object, or 304 if the client has it."""
    headers = {"ETag": schemas.etag(row), "Cache-Control": "private, no-cache"}
    if request.method in ("GET", "HEAD") and matches(request, schemas.etag(row)):
        return Response(status_code=304, headers=headers)
    return JSONResponse(body, status, headers=headers)


def viewed(request: Request, view: View, *, status: int = 200) -> Response:
    """A job, or 304 if the client has it."""
    headers = {"ETag": view.etag, "Cache-Control": "private, no-cache"}
    if request.method in ("GET", "HEAD") and matches(request, view.etag):
        return Response(status_code=304, headers=headers)
    return Response(view.body, status, headers=headers, media_type="application/json")


def _is_version(header: str, tag: str) -> bool:
    """Whether the client has this version, whatever it waited for then."""
    sent = [each.partition("-")[0].rstrip('"') for each in _tags(header)]
    return "*" in sent or tag.rstrip('"') in sent


async def hold(
    request: Request,
    state: State,
    kind: Kind,
    object_id: str,
    load: Callable[[], Row],
    *,
    wait: float,
) -> None:
    """Keep a GET waiting as `Prefer: wait` asks, without a thread.

    Args:
        request: the request; its If-None-Match says what the client has seen.
        state: the process's state.
        kind: the object's table.
        object_id: its id.
        load: reads it (and raises if it isn't there).
        wait: seconds; 0 returns at once.
    """
    if wait <= 0:
        return
    row = await run_in_threadpool(load)
    sent = request.headers.get("if-none-match")
    if sent is not None and not _is_version(sent, schemas.etag(row)):
        return
    version = row.version if sent is not None else None
    await state.watcher.until(kind, object_id, changed_from=version, seconds=wait)


def page(request: Request, rows: list[Any], limit: int, show: Callable[[Any], Any]) -> Response:
    """A list of at most `limit` objects, from a query for one more."""
    has_more = len(rows) > limit
    shown = rows[:limit]
    headers = {}
    if has_more:
        kept = [item for item in request.query_params.multi_items() if item[0] != "after"]
        query = urlencode([*kept, ("after", str(shown[-1].id))])
        headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    body = {"object": "list", "data": [show(row) for row in shown], "has_more": has_more}
    return JSONResponse(body, headers=headers)


def newest(
    session: Session, query: Select[Any], id_column: Any, *, after: str | None, limit: int
) -> list[Any]:
    """Rows by id, newest first, from behind `after`; one more than `limit` if there are."""
    if after is not None:
        query = query.where(id_column < after)
    return list(session.scalars(query.order_by(id_column.desc()).limit(limit + 1)))


def create(
    state: State,
    claim: Claim | None,
    make: Callable[[Session], str],
) -> tuple[str, bool]:
    """Make an object once for an Idempotency-Key.

    Args:
        state: the process's state.
        claim: the request's key; None makes the object.
        make: writes the object in the given transaction and returns its id.

    Returns:
        The object's id, and whether it had been made before.

    Raises:
        IntegrityError: if the database refuses the object for a reason other than its key.
    """
    try:
        return _create(state, claim, make)
    except IntegrityError:
        if claim is None:
            raise
        # Another request with this key won the race; this one answers with its object.
        return _create(state, claim, make)


def _create(state: State, claim: Claim | None, make: Callable[[Session], str]) -> tuple[str, bool]:
    with state.database.write() as session:
        known = idempotency.find(session, claim) if claim else None
        if known is not None:
            return known, True
        made = make(session)
        if claim is not None:
            idempotency.record(session, claim, made)
    return made, False


def mark(response: Response, location: str | None, *, replayed: bool) -> Response:
    """Say where a created object is, and whether it had been made before."""
    if location is not None:
        response.headers["Location"] = location
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
