"""What SQL and the disk know, as gauges: read when Prometheus asks, and not more often than needed.

With several API processes each shows the same figures: take their maximum, not their sum.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.patience import Patience
from core import census, jobs, line
from core.census import Stored, Waiting
from core.db import Database
from core.queue import Doorbell
from core.storage import Storage

log = logging.getLogger(__name__)

T = TypeVar("T")

QUICK_SECONDS = 5.0
SLOW_SECONDS = 60.0
PATIENCE_SECONDS = 3.0
SHARE = 100
"""Reading takes at most one part in so many of the time; what outlasts patience has hung."""
WORKER_STATUSES = ("ready", "busy", "draining", "lost")


class Kept(Generic[T]):
    """An answer that is asked for again when it's old, and later the more it costs."""

    def __init__(self, ask: Callable[[Session], T], *, seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._until = 0.0
        self._found: T | None = None

    def value(self, session: Session) -> T:
        """The answer, not older than it may be."""
        began = time.monotonic()
        if self._found is None or began >= self._until:
            self._found = self._ask(session)
            ended = time.monotonic()
            self._until = ended + max(self._seconds, SHARE * min(ended - began, PATIENCE_SECONDS))
        return self._found


@dataclass(frozen=True, slots=True)
class Quick:
    """What a few index entries tell."""

    live: dict[str, int]
    waiting: list[Waiting]
    running: dict[str, int]
    lease_age: float
    workers: Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Slow:
    """What takes a look at each of all jobs and files."""

    ended: dict[str, int]
    stored: Stored


class Census(Collector):
    """A collector of Prometheus; `look` brings it up to date."""

    def __init__(
        self, database: Database, *, storage: Storage, doorbell: Doorbell, lease_seconds: float
    ) -> None:
        self._database = database
        self._storage = storage
        self._doorbell = doorbell
        self._lease_seconds = lease_seconds
        self._quick = Kept(self._ask_quick, seconds=QUICK_SECONDS)
        self._slow = Kept(_ask_slow, seconds=SLOW_SECONDS)
        self._figures: tuple[Quick, Slow] | None = None
        # A reading that hangs is not joined by others.
        self.patience = Patience(seconds=PATIENCE_SECONDS, threads=1)

    async def look(self) -> None:
        """Read what is old; a database that doesn't answer soon is away."""
        try:
            self._figures = await self.patience.ask(self._read)
        except (SQLAlchemyError, TimeoutError) as error:
            log.warning("no figures from the database: %s", error or "it doesn't answer")
            self._figures = None

    def collect(self) -> Iterator[Metric]:
        """All gauges; those that a database that is away would know have no samples."""
        quick, slow = self._figures or (None, None)
        yield _gauge("database_up", "Whether the database answers.", quick is not None)
        yield from self._broker()
        yield from self._disk()
        yield from _of_quick(quick)
        by_status = quick.live | slow.ended if quick and slow else {}
        yield _labelled(
            "jobs", "Jobs, by status.", ["status"],
            {(status,): count for status, count in by_status.items()},
        )  # fmt: skip
        yield _gauge("files", "Files in the books.", slow.stored.count if slow else None)
        yield _gauge("files_bytes", "Their bytes.", slow.stored.bytes if slow else None)

    def _read(self) -> tuple[Quick, Slow]:
        with self._database.read() as session:
            session.connection()  # to see that it is there, whatever is kept
            return self._quick.value(session), self._slow.value(session)

    def _ask_quick(self, session: Session) -> Quick:
        return Quick(
            live=census.jobs_by_status(session, census.LIVE),
            waiting=census.waiting(session),
            running=census.running(session),
            lease_age=census.lease_age(session, lease_seconds=self._lease_seconds),
            workers=census.workers_by_status(session, lease_seconds=self._lease_seconds),
        )

    def _broker(self) -> Iterator[Metric]:
        reachable = self._doorbell.is_reachable
        yield _gauge("broker_up", "Whether the last hint got through.", reachable)

    def _disk(self) -> Iterator[Metric]:
        try:
            usage = shutil.disk_usage(self._storage.scratch)
        except OSError:
            usage = None
        yield _gauge(
            "storage_free_bytes",
            "Free on the disk of the storage, or beside a bucket.",
            usage and usage.free,
        )
        yield _gauge("storage_size_bytes", "Size of that disk.", usage and usage.total)


def _ask_slow(session: Session) -> Slow:
    ended = census.jobs_by_status(session, jobs.TERMINAL)
    return Slow(ended=ended, stored=census.stored(session))


def _of_quick(quick: Quick | None) -> Iterator[Metric]:
    found = quick or Quick({}, [], {}, 0.0, Counter())
    yield _labelled(
        "runs_queued", "Runs that a worker could take now.", ["kind", "device"],
        {(each.kind, each.device): each.count for each in found.waiting},
    )  # fmt: skip
    oldest = dict.fromkeys(line.EVERY, 0.0) if quick else {}
    for each in found.waiting:
        oldest[each.device] = max(oldest.get(each.device, 0.0), each.oldest_seconds)
    yield _labelled(
        "queue_oldest_seconds", "Since the oldest run in line was asked for.", ["device"],
        {(device,): seconds for device, seconds in oldest.items()},
    )  # fmt: skip
    yield _labelled(
        "runs_running", "Runs at work.", ["kind"],
        {(kind,): count for kind, count in found.running.items()},
    )  # fmt: skip
    yield _gauge(
        "lease_age_seconds", "Since the running run that is silent longest was heard of.",
        quick.lease_age if quick else None,
    )  # fmt: skip
    every = [(status, kind) for status in WORKER_STATUSES for kind in line.KINDS] if quick else []
    yield _labelled(
        "workers", "Workers of the last week.", ["status", "kind"],
        dict.fromkeys(every, 0) | dict(found.workers),
    )  # fmt: skip


def _gauge(name: str, meaning: str, value: float | None) -> Metric:
    """One figure, or none."""
    return GaugeMetricFamily(f"stillhouse_{name}", meaning, value=value)


def _labelled(name: str, meaning: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(f"stillhouse_{name}", meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
