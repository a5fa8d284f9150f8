"""Problem documents (RFC 9457) turned back into the errors that the service raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from stillhouse import errors

# Their constructors take a code of their own, and an answer never names them by class.
_RAISED_LOCALLY = (errors.InputRejected, errors.RunFailed)
_STANDARD = frozenset({"type", "title", "status", "detail", "code", "errors", "instance"})


def error_of(response: httpx.Response) -> errors.StillhouseError:
    """The error that an answer stands for; its body must have been read.

    `extra` holds the problem's other members, the HTTP status and the request's id; a code that
    this version doesn't know yet is kept as `extra["code"]`, on the nearest class.
    """
    problem = _document(response)
    code = str(problem.get("code", ""))
    extra = {key: value for key, value in problem.items() if key not in _STANDARD}
    extra.setdefault("request_id", response.headers.get("X-Request-Id"))
    known = _class_named(code, status=response.status_code)
    if known is None and code:
        extra["code"] = code
    found = [_field(entry) for entry in problem.get("errors") or []]
    return (known or _class_of_status(response.status_code))(
        str(problem.get("detail") or _without_detail(response)),
        field=found[0]["field"] if found else None,
        errors=found or None,
        **extra | {"status": response.status_code},
    )


def code_of(error: errors.StillhouseError) -> str:
    """The stable code of an error, wherever it came from."""
    if isinstance(error, errors.InputRejected):
        return error.rejected_code
    if isinstance(error, errors.RunFailed):
        return error.failure
    return str(error.extra.get("code", error.code))


def _document(response: httpx.Response) -> dict[str, Any]:
    if "json" not in response.headers.get("Content-Type", ""):
        return {}
    try:
        document = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) else {}


def _without_detail(response: httpx.Response) -> str:
    # The answer to a HEAD has no body; for want of a key, the error's class says what to do.
    if response.status_code in (401, 403):
        return ""
    return f"{response.status_code} {response.reason_phrase}"


def _field(entry: dict[str, Any]) -> dict[str, str]:
    return {"field": str(entry.get("field", "")), "message": str(entry.get("message", ""))}


def _class_named(code: str, *, status: int) -> type[errors.StillhouseError] | None:
    candidates = [one for one in _descendants(errors.StillhouseError) if one.code == code]
    # `not_found` is two classes: the object of the address, and an object that a spec names.
    fitting = [one for one in candidates if issubclass(one, errors.Refused) == (status == 422)]
    return next(iter(fitting or candidates), None)


def _class_of_status(status: int) -> type[errors.StillhouseError]:
    special = {404: errors.NotFound, 405: errors.MethodNotAllowed, 409: errors.Conflict}
    special |= {401: errors.Unauthorized, 403: errors.ScopeMissing, 429: errors.TooManyAttempts}
    special |= {413: errors.TooLarge, 416: errors.RangeNotSatisfiable, 507: errors.StorageFull}
    if status in special:
        return special[status]
    if status in (502, 503, 504):
        return errors.Unavailable
    return errors.Refused if status < 500 else errors.Internal


def _descendants(cls: type[errors.StillhouseError]) -> Iterator[type[errors.StillhouseError]]:
    for child in cls.__subclasses__():
        if child not in _RAISED_LOCALLY:
            yield child
            yield from _descendants(child)
