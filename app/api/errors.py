"""Errors as problem+json (RFC 9457), and the one table of HTTP statuses."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from app.api import findings
from core import logs
from core.db import trouble
from stillhouse import errors
from stillhouse.errors import StillhouseError

log = logging.getLogger(__name__)

STATUS: dict[type[StillhouseError], int] = {
    errors.Refused: 422,
    errors.Malformed: 400,
    errors.Unauthorized: 401,
    errors.ScopeMissing: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.RangeNotSatisfiable: 416,
    errors.InputRejected: 422,
    errors.TooManyAttempts: 429,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
    errors.RunFailed: 500,
    errors.Internal: 500,
}
TITLES = {
    400: "Malformed request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Request refused",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
    507: "Storage full",
}
RETRY_AFTER_SECONDS = "2"


def status_of(error: StillhouseError) -> int:
    """The HTTP status of an error: its own class's, or its nearest ancestor's."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def respond(request: Request, error: StillhouseError) -> JSONResponse:
    """An error as problem+json."""
    status = status_of(error)
    code = error.rejected_code if isinstance(error, errors.InputRejected) else error.code
    request.scope["stillhouse.error_code"] = code
    body: dict[str, Any] = {
        "type": f"urn:stillhouse:error:{code}",
        "title": TITLES[status],
        "status": status,
        "detail": error.detail,
        "code": code,
        "request_id": request.scope.get("stillhouse.request_id"),
    }
    if status == 422:
        body["errors"] = error.errors
    return JSONResponse(
        body | error.extra,
        status,
        headers=_headers(error, status),
        media_type="application/problem+json",
    )


def _headers(error: StillhouseError, status: int) -> dict[str, str]:
    match error:
        case errors.Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case errors.TooManyAttempts():  # the same key is as wrong the next time
            return {"Retry-After": str(error.extra["retry_after"]), "x-should-retry": "false"}
        case errors.RequestInFlight():
            return {"Retry-After": RETRY_AFTER_SECONDS}
        case errors.Conflict():
            return {"x-should-retry": "false"}
        case errors.RangeNotSatisfiable() if "size" in error.extra:
            return {"Content-Range": f"bytes */{error.extra['size']}"}
    return {"Retry-After": RETRY_AFTER_SECONDS} if status == 503 else {}


def from_validation(found: Sequence[Any]) -> StillhouseError:
    """FastAPI's and pydantic's findings as one of our errors."""
    listed = []
    for item in found:
        field = ".".join(_names(item["loc"])) or "body"
        message = findings.sentence(item)
        if item["type"] == "json_invalid":
            return errors.Malformed(f"The body is not JSON: {message}.")
        if item["type"] == "not_available":
            return errors.NotAvailable(f"{message}.", field=field)
        listed.append({"field": field, "message": message})
    # A union reports each of its branches, and a refused item its list as too short.
    kept = [item for item in listed if not _is_echo(item, listed)] or listed
    first = kept[0]
    return errors.SpecInvalid(f"{first['field']}: {first['message']}", errors=kept)


def install(app: FastAPI) -> None:
    """Answer every error as problem+json."""

    @app.exception_handler(StillhouseError)
    def _ours(request: Request, error: StillhouseError) -> JSONResponse:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return respond(request, from_validation(error.errors()))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        known: dict[int, StillhouseError] = {
            404: errors.NotFound("There is nothing at this path."),
            405: errors.MethodNotAllowed(),
            400: errors.Malformed(str(error.detail)),
        }
        found = known.get(error.status_code, errors.Malformed(str(error.detail)))
        response = respond(request, found)
        response.headers.update(error.headers or {})  # Allow, with a 405
        return response

    @app.exception_handler(PoolTimeout)
    def _database_busy(request: Request, error: PoolTimeout) -> JSONResponse:
        log.warning("the database is busy: %s", error)
        return respond(request, errors.Unavailable("The database is busy; try again."))

    @app.exception_handler(DBAPIError)
    def _database_failed(request: Request, error: DBAPIError) -> JSONResponse:
        kind = trouble(error)
        if kind == "ours":
            return _unexpected(request, error)
        log.warning("the database is %s: %s", kind, error.orig)
        if kind == "full":
            return respond(request, errors.StorageFull("The database's disk is full."))
        if kind == "behind":
            return respond(
                request, errors.Unavailable("The database waits to be migrated; try again.")
            )
        return respond(request, errors.Unavailable("The database is away; try again."))

    @app.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> JSONResponse:
        request_id = request.scope.get("stillhouse.request_id")
        with logs.bound(request_id=request_id):  # this runs outside of what named the request
            log.error("the request failed: %s", error, exc_info=error)
        return respond(request, errors.Internal())


def _names(location: Iterable[Any]) -> list[str]:
    # pydantic names a union's branch in the location ("function-after[…]", "literal['auto']").
    names = [str(part) for part in location if not _is_branch(part)]
    return names[1:] if names[:1] in (["body"], ["query"], ["path"], ["header"]) else names


def _is_branch(part: Any) -> bool:
    text = str(part)
    return "[" in text or "(" in text or text in _BRANCHES


_BRANCHES = frozenset({
    "BlobRef", "UriRef", "FilesRef", "PartSources", "SeenParts", "Schedule", "Sgd", "AdamW",
    "int", "float", "str", "tuple", "NetworkSpec", "InputSpec",
})  # fmt: skip


def _is_echo(item: dict[str, str], listed: list[dict[str, str]]) -> bool:
    field, message = item["field"], item["message"]
    if "after validation, not" in message:
        return any(other["field"].startswith(f"{field}.") for other in listed)
    earlier = listed[: next(i for i, other in enumerate(listed) if other is item)]
    return any(other["field"] == field for other in earlier)
