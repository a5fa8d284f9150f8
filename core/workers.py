"""Workers and the networks they can build, as rows."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core import ids
from core.db import db_now
from core.tables import Network, Worker
from stillhouse.errors import NotFound

FORGOTTEN_SECONDS = 7 * 86_400
UNSEEN_SECONDS = 3_600  # longer than a lease: a worker isn't alive before it says so


def enrol(session: Session, *, name: str, device: str, memory_bytes: int, software: str) -> Worker:
    """Record that a worker is starting; a known name keeps its id. `seen` says that it lives."""
    worker = session.scalars(select(Worker).where(Worker.name == name)).one_or_none()
    if worker is None:
        worker = Worker(id=ids.new("wrk"), name=name)
        session.add(worker)
    worker.status, worker.run, worker.is_draining = "ready", None, False
    worker.device, worker.memory_bytes, worker.software = device, memory_bytes, software
    worker.started_at = time.time()
    # By the database's clock, as a lease: a host's own may be wrong by more than that.
    worker.last_seen_at = db_now() - UNSEEN_SECONDS
    session.flush()
    return worker


def seen(session: Session, worker_id: str, *, status: str, run: str | None) -> None:
    """Record that a worker lives and what it does."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(status=status, run=run, last_seen_at=db_now())
        .execution_options(synchronize_session=False)
    )


def describe(
    session: Session, worker_id: str, *, kind: str, device: str, memory_bytes: int
) -> None:
    """Record what a worker's device is, once its trainer has looked; its kind is cpu or cuda."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(kind=kind, device=device, memory_bytes=memory_bytes)
        .execution_options(synchronize_session=False)
    )


def drain(session: Session, worker_id: str) -> Worker:
    """Let a worker take nothing new until it's started again; what it has it finishes.

    Raises `NotFound` if there is no such worker.
    """
    worker = _existing(session, worker_id)
    worker.is_draining = True
    return worker


def undrain(session: Session, worker_id: str) -> Worker:
    """Let a draining worker go on; raises what `drain` does."""
    worker = _existing(session, worker_id)
    worker.is_draining = False
    return worker


def _existing(session: Session, worker_id: str) -> Worker:
    worker = session.get(Worker, worker_id, with_for_update=True)
    if worker is None:
        raise NotFound(f"There is no worker '{worker_id[:64]}'; GET /v1/workers lists them.")
    return worker


def is_draining(session: Session, worker_id: str) -> bool:
    """Whether a worker may take nothing; who drains it waits for the claim that asks this."""
    query = select(Worker.is_draining).where(Worker.id == worker_id)
    return bool(session.scalar(query.with_for_update(read=True)))


def leave(session: Session, worker_id: str) -> None:
    """Take a worker that ended on purpose off the list: only what is missed is lost."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def status_of(worker: Worker, *, lost_after_seconds: float) -> str:
    """ready, busy, draining, or lost: silent for longer than a lease."""
    if worker.last_seen_at < alive_since(lost_after_seconds):
        return "lost"
    return "draining" if worker.is_draining else worker.status


def forget_old(session: Session) -> None:
    """Remove workers that have been silent for a week."""
    session.execute(delete(Worker).where(Worker.last_seen_at < time.time() - FORGOTTEN_SECONDS))


def alive_since(lease_seconds: float) -> float:
    """A worker that was seen after this moment lives."""
    return time.time() - lease_seconds


def publish_networks(
    session: Session, networks: Iterable[tuple[str, str, int | None, int | None]]
) -> None:
    """Record what can be built: (family, name, parameters, MACs); known figures stay."""
    known = {(row.family, row.name): row for row in session.scalars(select(Network))}
    for family, name, parameters, macs in networks:
        row = known.get((family, name))
        if row is None:
            session.add(Network(family=family, name=name, parameters=parameters, macs=macs))
        elif parameters is not None:
            row.parameters, row.macs = parameters, macs
