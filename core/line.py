"""The line: which run is next, and at which place one stands.

Runs stand by priority, high first, then by turn, then by id. The turns make jobs share: a job's
runs get the turns that follow the one that is served now, so that a thousand runs that were
asked for earlier and three that were asked for later alternate. (Start-time fair queueing,
Goyal, Vin and Cheng 1996, each job a flow and each run of cost one.) Turns are counted for each
kind of device and each priority by itself: one that is served quickly sets no clock for another.

Every look is a step or two in an index that holds nothing but the line, however long it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    Subquery,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    text,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from core.db import db_now
from core.tables import Run

KINDS = ("cpu", "cuda")
"""What a device can be."""
EVERY = ("host", "auto", *KINDS)
"""What a run can ask for: "auto" is either device, "host" none, as intake does."""
RECENT = 16  # claims; a run that was given back has an old turn, but not sixteen in a row
FRONT = 8
MAX_AHEAD = 100
_ORDER = (Run.priority, Run.turn, Run.id)


@dataclass(frozen=True, slots=True)
class Entry:
    """A run that can be claimed, and its job."""

    run: str
    job: str | None


def in_line() -> ColumnElement[bool]:
    """What stands in line, whether or not its time has come."""
    # Letter by letter as the partial index says it: no planner sees that a parameter matches.
    return and_(text("runs.status = 'queued'"), text("runs.ready"))


def claimable(kinds: tuple[str, ...]) -> ColumnElement[bool]:
    """What may be claimed now by whoever serves these kinds, of `EVERY`."""
    return and_(in_line(), Run.device_kind.in_(kinds), Run.not_before <= db_now())


def is_waiting(kinds: tuple[str, ...]) -> ColumnElement[bool]:
    """Whether anything could be claimed."""
    # Asked for in the index's order: asked for any, PostgreSQL may well read the whole table.
    firsts = (
        select(Run.id).where(claimable((kind,))).order_by(*_ORDER).limit(1).scalar_subquery()
        for kind in kinds
    )
    return or_(false(), *(first.is_not(None) for first in firsts))


def front(session: Session, kinds: tuple[str, ...]) -> list[Entry]:
    """The first runs in line, in order, at most one of each job."""
    if not kinds:
        return []
    rows = session.execute(_front(kinds)).all()
    first: dict[str, Entry] = {}
    for row in sorted(rows, key=lambda row: (-row.priority, row.turn, row.id)):
        first.setdefault(row.job or row.id, Entry(row.id, row.job))
    return list(first.values())


def now(session: Session, device_kind: str, priority: int) -> int:
    """The turn that is served: what joins the line now stands behind it."""
    return session.scalar(_now(device_kind), {"priority": priority}) or 0


# A statement costs ten times more to build than to run: each is built once.


@cache
def _front(kinds: tuple[str, ...]) -> CompoundSelect[Any]:
    each = [_first_of(kind).subquery() for kind in kinds]
    return union_all(*(select(found) for found in each))


@cache
def _now(device_kind: str) -> Select[int]:
    priority = bindparam("priority", type_=Integer)
    served = [
        select(Run.turn)
        .where(Run.device == kind, Run.priority == priority, Run.started_at.is_not(None))
        .order_by(Run.started_at.desc())
        .limit(RECENT)
        .subquery()
        for kind in (KINDS if device_kind == "auto" else (device_kind,))
    ]
    # Whoever may go to either device goes by the one where fewer turns have passed.
    highest = union_all(*(select(func.max(each.c.turn).label("turn")) for each in served))
    return select(func.min(highest.subquery().c.turn))


def ahead(device: str) -> Subquery:
    """How many `jobs` and `runs` stand before a run in the line for a device.

    The statement takes the run's `priority`, `turn` and `run` (its id). It stops counting at one
    more than `MAX_AHEAD` runs.
    """
    ranges = [
        select(Run.job)
        .where(in_line(), Run.device_kind == kind, where)
        .order_by(*_ORDER)
        .limit(MAX_AHEAD + 1)
        for kind in ("auto", device)
        for where in _before()
    ]
    found = union_all(*(select(each.subquery()) for each in ranges)).limit(MAX_AHEAD + 1)
    job = found.subquery().c.job
    return select(
        func.count(func.distinct(job)).label("jobs"), func.count(job).label("runs")
    ).subquery()


def _first_of(kind: str) -> Select[str, str | None, int, int]:
    # No index runs down in priority and up in turns; one step to each end of it does.
    highest = select(Run.priority).where(claimable((kind,))).order_by(Run.priority.desc()).limit(1)
    return (
        select(Run.id, Run.job, Run.priority, Run.turn)
        .where(claimable((kind,)), Run.priority == highest.scalar_subquery())
        .order_by(Run.turn, Run.id)
        .limit(FRONT)
    )


def _before() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Two ranges of the line's index."""
    priority = bindparam("priority", type_=Integer)
    place = tuple_(bindparam("turn", type_=BigInteger), bindparam("run", type_=Run.id.type))
    same = and_(Run.priority == priority, tuple_(Run.turn, Run.id) < place)
    return Run.priority > priority, same
