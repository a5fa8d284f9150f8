"""How much of everything there is, for metrics and diagnosis. Reads only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import jobs, line, workers
from core.db import db_now
from core.tables import Event, File, Job, Run, Worker

LIVE = tuple(status for status in jobs.STATUSES if status not in jobs.TERMINAL)
_RECENT_EVENTS = 5_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Runs of a kind that a worker with this device could take now."""

    kind: str
    device: str
    """auto, cpu, cuda, or host: intake, which any worker does."""
    count: int
    oldest_seconds: float
    """Since the oldest was asked for; a run that another had to precede waited for that, too."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Files by the books."""

    count: int
    bytes: int


def jobs_by_status(session: Session, statuses: Iterable[str]) -> dict[str, int]:
    """How many jobs have each of these statuses.

    It reads an index entry a job: quick for `LIVE`, about 0.1 s for a million that have ended.
    """
    wanted = tuple(statuses)
    found = session.execute(
        select(Job.status, func.count()).where(Job.status.in_(wanted)).group_by(Job.status)
    )
    return dict.fromkeys(wanted, 0) | dict(found.all())


def waiting(session: Session) -> list[Waiting]:
    """What is in line, by kind and device."""
    found = session.execute(
        select(Run.kind, Run.device_kind, func.count(), func.min(Run.created_at))
        .where(line.in_line())
        .group_by(Run.kind, Run.device_kind)
    )
    now = time.time()
    return [Waiting(kind, device, count, now - oldest) for kind, device, count, oldest in found]


def running(session: Session) -> dict[str, int]:
    """How many runs are worked on, by kind."""
    found = session.execute(
        select(Run.kind, func.count()).where(Run.status == "running").group_by(Run.kind)
    )
    return dict(found.all())


def lease_age(session: Session, *, lease_seconds: float) -> float:
    """Seconds since the running run that was silent longest was heard of; 0 without one."""
    found = session.scalar(
        select(db_now() - func.min(Run.lease_expires_at)).where(Run.status == "running")
    )
    return 0.0 if found is None else max(float(found) + lease_seconds, 0.0)


def expired(session: Session, *, seconds: float) -> int:
    """How many leases ran out more than so many seconds ago, and nobody took the run back."""
    late = Run.lease_expires_at < db_now() - seconds
    return session.scalar(select(func.count()).where(Run.status == "running", late)) or 0


def all_workers(session: Session) -> list[Worker]:
    """Every worker of the last week, by name."""
    return list(session.scalars(select(Worker).order_by(Worker.name)))


def workers_by_status(session: Session, *, lease_seconds: float) -> Counter[tuple[str, str]]:
    """How many workers there are, by status and kind of device."""
    return Counter(
        (workers.status_of(row, lost_after_seconds=lease_seconds), row.kind)
        for row in all_workers(session)
    )


def stored(session: Session) -> Stored:
    """How many files there are. It reads every row of them."""
    count, size = session.execute(select(func.count(), func.sum(File.bytes))).one()
    return Stored(count, int(size or 0))


def losses(session: Session, *, seconds: float) -> int:
    """Runs that were lost of late, among the newest events: those have no index by time."""
    newest = select(Event.type, Event.created_at).order_by(Event.id.desc()).limit(_RECENT_EVENTS)
    recent = newest.subquery()
    since = time.time() - seconds
    query = select(func.count()).where(recent.c.type == "run_lost", recent.c.created_at > since)
    return session.scalar(query) or 0


def clock_offset(session: Session) -> float:
    """Seconds by which the database's clock is ahead of this machine's."""
    before = time.time()
    there = float(session.scalar(select(db_now())) or 0.0)
    return there - (before + time.time()) / 2
