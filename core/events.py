"""What happened to a job, as rows that a user can read."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.tables import Event

Level = Literal["info", "warn", "error"]


def add(
    session: Session,
    job: str | None,
    type_: str,
    message: str,
    *,
    level: Level = "info",
    run: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Append an event to a job; what has no job (an intake) leaves none."""
    if job is not None:
        session.add(
            Event(job=job, run=run, type=type_, level=level, message=message, data=data or {})
        )


def page(session: Session, job: str, *, after: int, limit: int) -> list[Event]:
    """Events of a job, oldest first, from behind `after`; one more than `limit` if there are."""
    query = select(Event).where(Event.job == job, Event.id > after).order_by(Event.id)
    return list(session.scalars(query.limit(limit + 1)))
