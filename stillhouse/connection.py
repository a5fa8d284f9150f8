"""One service's HTTP: what is tried again, for how long, and what is raised in the end.

Every request that the client makes may be repeated: GET, HEAD, PUT and DELETE by nature, creating
POSTs by their Idempotency-Key, the others because they create nothing.
"""

from __future__ import annotations

import ipaddress
import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from stillhouse import errors, problem

Params = Mapping[str, str | int]
T = TypeVar("T")

_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_SECONDS = 8.0
_IN_A_KEY = re.compile("[!-~]+")  # what can be seen, of ASCII


class Connection:
    """A connection pool to one service.

    A service that has answered before is waited for `patience_seconds`, so that a restart goes
    unnoticed; one that never has is more likely a wrong address, and is given up on after
    `first_patience` seconds.
    """

    patience_seconds = 60.0

    def __init__(
        self, base_url: str, *, key: str | None, timeout: float, first_patience: float = 3.0
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.first_patience = first_patience
        self._answered = False
        self._closed = threading.Event()
        self._http = httpx.Client(
            base_url=self.base_url,
            headers=_authorization(key),
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10)),
            trust_env=_trusts_proxy(self.base_url),
        )

    def close(self) -> None:
        """Ends every pause and closes the pool."""
        self._closed.set()
        self._http.close()

    def pause(self, seconds: float) -> None:
        """Waits, or until the connection is closed."""
        self._closed.wait(seconds)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: Callable[[], Iterator[bytes]] | None = None,
    ) -> httpx.Response:
        """One request, tried until it is answered for good; a 304 is an answer.

        `content` is called for each try, because a stream can be read only once.
        """

        def attempt() -> httpx.Response:
            response = self._http.request(
                method,
                path,
                params=params,
                headers=headers,
                json=json,
                content=None if content is None else content(),
            )
            return self._accepted(response)

        return self.persist(attempt)

    @contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """One GET whose body is read by the caller; call it inside `persist`.

        A service whose files lie in an object store answers with a link to there.
        """
        with self._http.stream("GET", path, headers=headers) as response:
            if not response.has_redirect_location:
                yield self._begun(response)
                return
            link = response.headers["Location"]
        self._answered = True
        with self._stream_elsewhere(link, headers) as response:
            yield self._begun(response)

    @contextmanager
    def _stream_elsewhere(self, link: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """One GET at another host, which gets no key and can't know our ETag."""
        asked = {name: value for name, value in headers.items() if name != "If-Range"}
        with (
            httpx.Client(timeout=self._http.timeout, trust_env=_trusts_proxy(link)) as http,
            http.stream("GET", link, headers=asked) as response,
        ):
            yield response

    def persist(self, attempt: Callable[[], T], *, position: Callable[[], int] = lambda: 0) -> T:
        """Calls `attempt` until it returns, or raises what the service answered.

        Args:
            attempt: What may fail with an `httpx.HTTPError`.
            position: How far the attempts have come; patience starts anew when this moves.

        Returns:
            What `attempt` returned.
        """
        began, reached, tries = time.monotonic(), position(), 0
        while True:
            try:
                return attempt()
            except httpx.HTTPError as error:
                if position() != reached:
                    began, reached, tries = time.monotonic(), position(), 0
                self._wait_or_give_up(error, tries=tries, waited=time.monotonic() - began)
            tries += 1

    def pages(self, path: str, *, params: Params, after: str | int | None) -> Iterator[Any]:
        """The objects of a list, page by page, behind `after`."""
        for _ in itertools.count():
            here = dict(params) if after is None else {**params, "after": after}
            page = self.send("GET", path, params=here).json()
            yield from page["data"]
            if not page["has_more"] or not page["data"]:
                return
            after = page["data"][-1]["id"]

    def _wait_or_give_up(self, error: httpx.HTTPError, *, tries: int, waited: float) -> None:
        patience = self.patience_seconds if self._answered else self.first_patience
        wait = _wait_before_retry(error, tries)
        if wait is None or waited + wait > patience:
            raise self._named(error) from error
        self.pause(wait)

    def _accepted(self, response: httpx.Response) -> httpx.Response:
        self._answered = True
        return response if response.status_code == 304 else response.raise_for_status()

    def _begun(self, response: httpx.Response) -> httpx.Response:
        """A success whose body is still to come; what is none is read and raised."""
        if not response.is_success:
            response.read()
        return self._accepted(response)

    def _named(self, error: httpx.HTTPError) -> errors.StillhouseError:
        if isinstance(error, httpx.HTTPStatusError):
            return problem.error_of(error.response)
        if (elsewhere := _origin(error.request.url)) != _origin(httpx.URL(self.base_url)):
            return errors.Unavailable(
                f"{elsewhere}, where the service keeps its files, can't be read from here "
                f"({error or type(error).__name__}). On the service, set "
                "STILLHOUSE_S3_PUBLIC_ENDPOINT to its address, or STILLHOUSE_DOWNLOADS=stream."
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return errors.Unavailable(
                f"Nothing answers at {self.base_url}; start the service there, "
                "or set STILLHOUSE_URL to where it is."
            )
        return errors.Unavailable(f"{self.base_url} broke off: {error or type(error).__name__}.")


def _wait_before_retry(error: httpx.HTTPError, tries: int) -> float | None:
    """Seconds until the next try, or None when there is no point in one."""
    backoff = min(0.25 * 2.0**tries, _LONGEST_PAUSE_SECONDS) * random.uniform(0.75, 1)  # noqa: S311 - spreads clients, guards nothing
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return None
    if not isinstance(error, httpx.HTTPStatusError):
        return backoff
    response = error.response
    if response.headers.get("x-should-retry") == "false" or response.status_code not in _RETRIED:
        return None
    if isinstance(problem.error_of(response), errors.NoWorker):
        return None  # the service has waited for one already
    return max(backoff, _retry_after(response))


def _retry_after(response: httpx.Response) -> float:
    """Seconds; a date, which Retry-After may also be, is not worth a parser here."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0


def _authorization(key: str | None) -> dict[str, str]:
    """The header that shows a key, checked here: httpx would print what it can't send."""
    shown = (key or "").strip()
    if not shown:
        return {}
    if not _IN_A_KEY.fullmatch(shown):
        raise errors.MalformedKey
    return {"Authorization": f"Bearer {shown}"}


def _trusts_proxy(url: str) -> bool:
    """Whether the environment's proxy is asked: it can't reach this machine's loopback."""
    return not _is_loopback(_host(url))


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _host(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise errors.Malformed(f"'{url}' is no address; write it as http://host:8000.")
    return parsed.host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
