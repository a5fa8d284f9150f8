"""`python -m benchmarks.lists`: pages, status reads, claims, heartbeats at 1,000 jobs and 10⁶.

On SQLite and PostgreSQL. The jobs of both sizes are alike: one in a hundred is queued, and a
label names one in a thousand. Both APIs run beside each other and are asked in turn.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks import crowd, requests, service, table
from benchmarks.requests import Caller
from benchmarks.table import Bound, Finding, Measured, Report
from core import leases, runs
from core.db import Database
from core.leases import Lease
from core.tables import Job
from tests import servers

FACTOR = 1_000
RUNS = 200
CLAIMS = 8
"""A claim takes a job out of the line, and the small database has few."""
_KINDS = ("auto", "cpu")
_TWO_FILTERS = "page of nothing"
"""No index answers what two filters have in common: all jobs of a label are read."""
_AT_MOST = Bound("at most", 1.5)
# A label is one job's among the first hundred: a page of one is as full in both sizes.
_PAGES = {
    "page": "/v1/jobs",
    "page further down": "/v1/jobs?after={mark}",
    "page by status": "/v1/jobs?status=succeeded",
    "page by metadata": "/v1/jobs?limit=1&metadata%5Bticket%5D=T-42",
    "page by status and metadata": "/v1/jobs?limit=1&status=queued&metadata%5Bticket%5D=T-995",
    "page of nothing": "/v1/jobs?status=queued&metadata%5Bticket%5D=T-42",
    "job, queued": "/v1/jobs/{mark}",
}

Pair = tuple[Database, Database]
"""The small one and the large one."""
Times = tuple[list[float], list[float]]


def measure(*, factor: int = FACTOR, runs: int = RUNS) -> Report:
    """Fill four databases and ask them."""
    measured: list[Measured] = []
    findings: list[Finding] = []
    for kind in ("SQLite", "PostgreSQL"):
        with _databases(kind, factor) as pair:
            found = _time_pages(kind, pair, runs=runs) + _time_claims(kind, pair, times=runs)
        measured += [item for both in found for item in both]
        findings += [
            table.ratio(
                f"{many.name} / few",
                many,
                few,
                bound=None if _TWO_FILTERS in many.name else _AT_MOST,
            )
            for few, many in found
        ]
    return Report(
        f"Lists and claims at {crowd.FIRST:,} and {crowd.FIRST * factor:,} jobs",
        measured=tuple(measured),
        findings=tuple(findings),
    )


@contextlib.contextmanager
def _databases(kind: str, factor: int) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="lists") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        if kind == "SQLite":
            urls = [f"sqlite:///{folder / size}.db" for size in ("small", "large")]
        else:
            server = stack.enter_context(servers.postgres())
            urls = [servers.fresh_postgres_database(server) for _ in range(2)]
        small, large = (
            crowd.make(url, folder, factor=size)
            for url, size in zip(urls, (1, factor), strict=True)
        )
        yield small, large
        small.close()
        large.close()


def _time_pages(kind: str, pair: Pair, *, runs: int) -> list[tuple[Measured, Measured]]:
    with contextlib.ExitStack() as stack:
        callers = [Caller(stack.enter_context(service.api(each.url))) for each in pair]
        marks = [_further_down(each) for each in pair]
        found = [
            _interleaved(f"{kind}, {name}", path, callers, marks, runs=runs)
            for name, path in _PAGES.items()
        ]
        for caller in callers:
            caller.close()
    return found


def _interleaved(
    name: str, path: str, callers: list[Caller], marks: list[str], *, runs: int
) -> tuple[Measured, Measured]:
    values: Times = ([], [])
    for _ in range(runs):
        for place, (caller, mark) in enumerate(zip(callers, marks, strict=True)):
            values[place].append(caller.get(path.format(mark=mark)))
    return _pair(name, values)


def _time_claims(kind: str, pair: Pair, *, times: int) -> list[tuple[Measured, Measured]]:
    looks: Times = ([], [])
    claims: Times = ([], [])
    beats: Times = ([], [])
    held: list[Lease] = []
    for _ in range(CLAIMS):
        for place, database in enumerate(pair):
            seconds, lease = _claim(database)
            claims[place].append(seconds)
            held = [*held[-1:], lease]
    for _ in range(times):
        for place, database in enumerate(pair):
            looks[place].append(_timed(database.read, _look))
            beats[place].append(_timed(database.write, partial(_beat, held[place])))
    return [
        _pair(f"{kind}, look for work", looks),
        _pair(f"{kind}, claim", claims),
        _pair(f"{kind}, heartbeat", beats),
    ]


def _pair(name: str, values: Times) -> tuple[Measured, Measured]:
    few, many = (
        Measured(f"{name}, {size}", each, "ms")
        for size, each in zip(("few", "many"), values, strict=True)
    )
    return few, many


def _timed(
    transaction: Callable[[], AbstractContextManager[Session]], work: Callable[[Session], object]
) -> float:
    began = time.perf_counter()
    with transaction() as session:
        work(session)
    return (time.perf_counter() - began) * requests.MS


def _look(session: Session) -> None:
    runs.anything_to_do(session, _KINDS)


def _beat(lease: Lease, session: Session) -> None:
    leases.beat(session, lease, None)


def _claim(database: Database) -> tuple[float, Lease]:
    began = time.perf_counter()
    with database.write() as session:
        leases.expire(session)
        lease = leases.take(session, worker="w1", device="cpu", devices=_KINDS, lease_seconds=3600)
    seconds = time.perf_counter() - began
    if lease is None:
        message = "nobody was in line"
        raise RuntimeError(message)
    return seconds * requests.MS, lease


def _further_down(database: Database) -> str:
    """The id of a queued job that isn't on the first page."""
    with database.read() as session:
        newest = session.scalars(
            select(Job.id).where(Job.status == "queued").order_by(Job.id.desc()).limit(5)
        ).all()
    return newest[-1]


def main() -> int:
    """Measure and print."""
    report = measure()
    table.show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
