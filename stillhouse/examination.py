"""What only a client can see of a deployment: is it there, is it ours, do key and bytes pass?

Each step asks once or twice and says in a sentence what it saw, and what to do about it.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from stillhouse import __version__, errors, problem
from stillhouse.connection import Connection

CLOCK_SECONDS = 5.0
"""The Date header counts whole seconds, and an answer takes a moment."""
PROBE_BYTES = 64
RANGE_BYTES = 1024
PARTS = {
    "database": "Start it, let `migrate` make its tables, or correct STILLHOUSE_DATABASE_URL.",
    "storage": "Bring it back, or correct STILLHOUSE_STORAGE_URL.",
}
"""What a service can't do without, and what to do without it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw: ok, warn, fail, or skip: it could not look."""

    check: str
    status: str
    message: str
    remedy: str | None = None


class NotThere(Exception):
    """Nothing that speaks for Stillhouse answers; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def examine(connection: Connection, *, has_key: bool) -> Iterator[Finding]:
    """All that there is to see, from the outside inwards; `has_key`: whether a key is shown.

    Raises `NotThere` if no service answers: nothing else can be seen then.
    """
    yield from _reach(connection)
    yield from _versions(connection)
    allowed = _key(connection, has_key=has_key)
    if allowed.status == "fail":
        yield from _parts(connection)
    yield allowed
    if allowed.status == "fail":
        return
    yield from _inside(connection)
    yield _upload(connection)
    yield _download(connection)


def _reach(connection: Connection) -> Iterator[Finding]:
    began = time.time()
    try:
        answer = connection.send("GET", "/healthz")
    except errors.StillhouseError as error:
        raise NotThere(_why(error, connection.base_url)) from error
    took = time.time() - began
    if _json(answer).get("status") != "ok":
        raise NotThere(_stranger(connection.base_url))
    yield Finding("reach", "ok", f"{connection.base_url} answers in {took * 1000:.0f} ms.")
    sent = answer.headers.get("Date")
    with contextlib.suppress(TypeError, ValueError):
        yield _clock(parsedate_to_datetime(sent).timestamp() - (began + took / 2))


def _why(error: errors.StillhouseError, url: str) -> Finding:
    """Why nothing answered, as far as the network says."""
    cause = error.__cause__
    causes = list(_chain(cause))
    if isinstance(cause, httpx.HTTPStatusError):
        return _stranger(url)
    if any(isinstance(each, ssl.SSLError) for each in causes) or "SSL" in str(cause):
        remedy = "Check http or https in STILLHOUSE_URL, and the certificate and its name."
        return Finding("reach", "fail", f"{url} and this machine agree on no TLS: {cause}.", remedy)
    if isinstance(cause, httpx.TimeoutException):
        remedy = "Check the address, and firewalls on the way; see whether the service hangs."
        return Finding("reach", "fail", f"{url} doesn't answer in time.", remedy)
    if isinstance(cause, httpx.ConnectError):
        remedy = "Start the service there, or set STILLHOUSE_URL to where it is."
        return Finding("reach", "fail", f"Nothing listens at {url}: {cause}.", remedy)
    if isinstance(cause, httpx.RemoteProtocolError):
        return _stranger(url)
    return Finding("reach", "fail", error.detail, "Check STILLHOUSE_URL.")


def _stranger(url: str) -> Finding:
    message = f"Something answers at {url}, and it is not Stillhouse."
    return Finding("reach", "fail", message, "Check STILLHOUSE_URL: its port, and its path.")


def _clock(offset: float) -> Finding:
    if abs(offset) <= CLOCK_SECONDS:
        return Finding("clock_here", "ok", "The service's clock agrees with this machine's.")
    side = "ahead of" if offset > 0 else "behind"
    message = f"The service's clock is {abs(offset):.0f} s {side} this machine's."
    remedy = "Let both take their time by NTP; signed links don't work across a wrong clock."
    return Finding("clock_here", "warn", message, remedy)


def _versions(connection: Connection) -> Iterator[Finding]:
    try:
        there = _json(connection.send("GET", "/v1/version")).get("version")
    except errors.StillhouseError as error:
        yield Finding("version", "warn", f"It says no version: {error.detail}")
        return
    message = f"Client {__version__}, service {there}."
    if there == __version__:
        yield Finding("version", "ok", message)
    else:
        yield Finding("version", "warn", message, "Install the client of the service's version.")


def _key(connection: Connection, *, has_key: bool) -> Finding:
    try:
        connection.send("GET", "/v1/jobs", params={"limit": 1})
    except (errors.Unauthorized, errors.TooManyAttempts) as error:
        remedy = (
            "Ask for another key, and copy it whole."
            if has_key
            else "Set STILLHOUSE_KEY; the first key is where the service's `init` said."
        )
        return Finding("key", "fail", error.detail, remedy)
    except errors.StillhouseError as error:
        remedy = "See the other checks, and the API's log."
        return Finding("key", "fail", f"Jobs can't be listed: {error.detail}", remedy)
    if not has_key:
        return Finding("key", "ok", "The service asks for no key.")
    return Finding("key", "ok", "The key is good.")


def _parts(connection: Connection) -> Iterator[Finding]:
    """Which of the parts that a service can't do without is away: anybody may know."""
    try:
        connection.send("GET", "/readyz")
    except errors.StillhouseError as error:
        found = error.extra.get("checks")
        checks = found if isinstance(found, dict) else {}
        for part, remedy in PARTS.items():
            if (said := checks.get(part, "ok")) != "ok":
                yield Finding(part, "fail", f"The service's {part}: {said}.", remedy)


def _inside(connection: Connection) -> Iterator[Finding]:
    """What the service says of itself."""
    try:
        found = _json(connection.send("GET", "/v1/diagnosis"))
    except errors.ScopeMissing:
        yield Finding("service", "skip", "The service's own checks take a key with scope admin.")
    except (errors.NotFound, errors.NotAvailable):
        yield Finding("service", "skip", "This version of the service doesn't check itself.")
    except errors.StillhouseError as error:
        message = f"The service couldn't check itself: {error.detail}"
        yield Finding("service", "fail", message, "See the API's log.")
    else:
        for each in found.get("findings", []):
            yield Finding(each["check"], each["status"], each["message"], each.get("remedy"))


def _upload(connection: Connection) -> Finding:
    """A few random bytes there, seen there, and gone again."""
    content = secrets.token_bytes(PROBE_BYTES)
    path = f"/v1/blobs/{hashlib.sha256(content).hexdigest()}"
    headers = {"Content-Length": str(PROBE_BYTES), "Content-Type": "application/octet-stream"}
    try:
        connection.send("PUT", path, headers=headers, content=lambda: iter([content]))
        connection.send("HEAD", path)
        connection.send("DELETE", path)
    except errors.ScopeMissing:
        return Finding("upload", "skip", "This key may not upload; a key with scope submit may.")
    except errors.StillhouseError as error:
        remedy = "See the storage's check, and limits of a proxy on the way."
        return Finding("upload", "fail", f"A small upload failed: {error.detail}", remedy)
    return Finding("upload", "ok", "A small upload arrived, and was deleted.")


def _download(connection: Connection) -> Finding:
    """The beginning of a student's smallest file, wherever it comes from."""
    try:
        page = _json(connection.send("GET", "/v1/students", params={"limit": 1}))
        if not page.get("data"):
            return Finding("download", "skip", "There is no student to download yet.")
        student = page["data"][0]
        file = min(student["files"], key=lambda each: each["bytes"])
        wanted = min(RANGE_BYTES, file["bytes"])
        path = f"/v1/students/{student['id']}/files/{file['path']}"
        with connection.stream(path, headers={"Range": f"bytes=0-{wanted - 1}"}) as answer:
            arrived = len(answer.read())
    except (errors.StillhouseError, httpx.HTTPError) as error:
        return _failed_download(error)
    if arrived != wanted:
        message = f"Of {wanted} bytes {arrived} arrived."
        return Finding("download", "fail", message, "Look for a proxy that changes answers.")
    return Finding("download", "ok", "A student's file can be downloaded.")


def _failed_download(error: errors.StillhouseError | httpx.HTTPError) -> Finding:
    said = str(error) or type(error).__name__
    if isinstance(error, httpx.HTTPStatusError):
        if error.response.status_code == 404:
            message = "The storage doesn't hold a file that the books name."
            return Finding("download", "fail", message, "Is STILLHOUSE_STORAGE_URL the old one?")
        said = problem.error_of(error.response).detail
    remedy = "Where files lie in S3, this machine must reach STILLHOUSE_S3_PUBLIC_ENDPOINT."
    return Finding("download", "fail", f"A download failed: {said}", remedy)


def _json(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
