"""Everything that can go wrong, by name.

    StillhouseError
    ├── Refused                 the request can't be honoured as it stands
    │   ├── SpecInvalid         fields are wrong; `errors` says which
    │   ├── NotAvailable        named in the contract, not built yet
    │   ├── ReferenceNotFound   the spec names an object that isn't there
    │   ├── ReferenceRejected   the spec names an object that was rejected
    │   ├── ClassesDiffer       teacher and dataset name other classes
    │   ├── DigestMismatch      the bytes are not those of the address
    │   ├── PathNotAllowed      a file:// outside the allowed roots
    │   ├── IdempotencyKeyReused
    │   └── Malformed           not JSON, or not HTTP as we speak it
    │       └── MalformedKey    a header can't carry it; raised by the client
    ├── Unauthorized            no key, or none that is good
    ├── ScopeMissing            the key is good, but not for this
    ├── TooManyAttempts         too many wrong keys from one address
    ├── NotFound
    ├── MethodNotAllowed
    ├── Conflict                the object's state forbids it, for good
    │   ├── InUse
    │   ├── JobIsOver
    │   ├── JobIsRunning
    │   ├── LastAdminKey        without it nobody could make keys
    │   └── RequestInFlight     the same Idempotency-Key, still being served
    ├── TooLarge
    ├── UnsupportedMediaType
    ├── RangeNotSatisfiable
    ├── Unavailable             try again: a dependency is away
    │   └── NoWorker
    ├── StorageFull
    ├── InputRejected           a user's bytes, or the fit of spec and data, by a code of its own
    ├── RunFailed               a run ended badly; `failure` says how
    └── Internal

Codes are stable and snake_case. HTTP statuses live in `app.api.errors`, nowhere else.
"""

from __future__ import annotations

from typing import Any, ClassVar


class StillhouseError(Exception):
    """Something went wrong; `code` says what, `detail` what to do."""

    code: ClassVar[str] = "internal"

    def __init__(
        self,
        detail: str = "",
        *,
        field: str | None = None,
        errors: list[dict[str, str]] | None = None,
        **extra: Any,
    ) -> None:
        self.detail = detail or (self.__doc__ or "").partition("\n")[0]
        self.field = field
        self.errors = errors or ([{"field": field, "message": self.detail}] if field else [])
        self.extra = extra
        super().__init__(self.detail)


class Refused(StillhouseError):
    """The request can't be honoured as it stands."""

    code = "refused"


class SpecInvalid(Refused):
    """One or more fields are wrong."""

    code = "invalid_request"


class NotAvailable(Refused):
    """This is named in the contract and not built yet."""

    code = "not_available"


class ReferenceNotFound(Refused):
    """The request names an object that isn't there."""

    code = "not_found"


class ReferenceRejected(Refused):
    """The request names an object that was rejected."""

    code = "reference_rejected"


class ClassesDiffer(Refused):
    """Teacher and dataset name different classes."""

    code = "classes_differ"


class DigestMismatch(Refused):
    """The bytes that arrived don't have the SHA-256 of their address; nothing was kept."""

    code = "digest_mismatch"


class PathNotAllowed(Refused):
    """The path lies outside STILLHOUSE_ALLOWED_ROOTS."""

    code = "path_not_allowed"


class IdempotencyKeyReused(Refused):
    """This Idempotency-Key was used with another body; take a new key for a new request."""

    code = "idempotency_key_reused"


class Malformed(Refused):
    """The request is not readable."""

    code = "malformed_request"


class MalformedKey(Malformed):
    """STILLHOUSE_KEY holds a character that no key has; copy it anew."""

    code = "malformed_key"


class Unauthorized(StillhouseError):
    """Send a key of this service, as 'Authorization: Bearer sth_…'; set STILLHOUSE_KEY to it."""

    code = "unauthorized"


class ScopeMissing(StillhouseError):
    """This key may not do that; use one with the scope that it takes."""

    code = "scope_missing"


class TooManyAttempts(StillhouseError):
    """Too many wrong keys came from this address; wait a minute, or use a good one."""

    code = "too_many_attempts"


class NotFound(StillhouseError):
    """There is no such object."""

    code = "not_found"


class MethodNotAllowed(StillhouseError):
    """This path does not take that method."""

    code = "method_not_allowed"


class Conflict(StillhouseError):
    """The object's state forbids this."""

    code = "conflict"


class InUse(Conflict):
    """Other objects name this one; delete them first."""

    code = "in_use"


class JobIsOver(Conflict):
    """The job has ended; its end can't be changed."""

    code = "job_is_over"


class JobIsRunning(Conflict):
    """The job has not ended; cancel it first."""

    code = "job_is_running"


class LastAdminKey(Conflict):
    """It is the last key that can make keys; create another with the scope admin first."""

    code = "last_admin_key"


class RequestInFlight(Conflict):
    """A request with this Idempotency-Key is still being served; ask again in a moment."""

    code = "request_in_flight"


class TooLarge(StillhouseError):
    """The body is larger than this service accepts."""

    code = "too_large"


class RangeNotSatisfiable(StillhouseError):
    """The range lies outside the file."""

    code = "range_not_satisfiable"


class UnsupportedMediaType(StillhouseError):
    """Send JSON with Content-Type: application/json."""

    code = "unsupported_media_type"


class Unavailable(StillhouseError):
    """A part that this needs is away; try again."""

    code = "unavailable"


class NoWorker(Unavailable):
    """No worker was free to answer in time; try again, or start another worker."""

    code = "no_worker"


class StorageFull(StillhouseError):
    """The storage is full."""

    code = "storage_full"


class InputRejected(StillhouseError):
    """A user's bytes, or the fit of spec and data, were examined and refused.

    Raised by intake and by the `prepare` run with a code of its own
    (`pickle_global_denied`, `teacher_mismatch`, `image_sizes_differ`, …).
    """

    code = "input_rejected"

    def __init__(self, code: str, detail: str, *, field: str | None = None, **extra: Any) -> None:
        super().__init__(detail, field=field, **extra)
        self.rejected_code = code

    def as_dict(self) -> dict[str, Any]:
        """The object that a teacher, dataset or job shows as its `error`."""
        error: dict[str, Any] = {"code": self.rejected_code, "detail": self.detail}
        if self.field is not None:
            error["field"] = self.field
        return error | self.extra


class RunFailed(StillhouseError):
    """A run ended badly; `failure` is its stable code (`diverged`, `out_of_memory`, …)."""

    code = "run_failed"

    def __init__(self, failure: str, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


class Internal(StillhouseError):
    """Something unexpected happened here; the log has it under this request's id."""

    code = "internal"
