"""Why a job waits, and at which place. Reads only: three short statements at most."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from sqlalchemy import Float, Select, bindparam, func, or_, select, true
from sqlalchemy.orm import Session

from core import line, workers
from core.db import db_now
from core.tables import Dataset, Event, Job, JobInput, Run, Teacher, Worker

Code = Literal["inputs", "queue", "no_worker", "no_device", "draining", "delayed"]

NO_WORKER = "No worker has been seen lately; start one."
_DRAINING = (
    "The workers that could take it are draining: start one of them again, or let it go on with "
    "`stillhouse drain --undo wrk_…`."
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a job waits for. Position 1 is next; 0: it stands in no line, or nobody counted."""

    code: Code
    message: str
    position: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    jobs: int
    runs: int
    """Ahead of it; counted a little beyond a hundred."""

    def say(self) -> str:
        if self.runs > line.MAX_AHEAD:
            return f"It is in line; more than {line.MAX_AHEAD} runs are ahead."
        if self.jobs:
            return f"It is number {self.jobs + 1} in line."
        return "It is next in line."


@dataclass(frozen=True, slots=True)
class _Look:
    """A run's place in the line for each device it may go to, and who is there to take it."""

    device: str
    places: dict[str, _Place]
    alive: set[tuple[str, bool]]
    """The live workers' kinds, and whether they drain."""

    def behind(self) -> _Look:
        places = {kind: _Place(each.jobs + 1, each.runs + 1) for kind, each in self.places.items()}
        return replace(self, places=places)

    def tell(self) -> Waiting:
        able = tuple(self.places)
        free = [kind for kind in able if (kind, False) in self.alive]
        # Whoever may go to either device is next where fewer are ahead.
        place = min((self.places[kind] for kind in free or able), key=lambda each: each.runs)
        position = min(place.jobs, line.MAX_AHEAD) + 1
        if not self.alive:
            return Waiting("no_worker", NO_WORKER, position)
        if free:
            return Waiting("queue", place.say(), position)
        if any(kind in able for kind, _ in self.alive):
            return Waiting("draining", _DRAINING, position)
        have = " and ".join(sorted({kind for kind, _ in self.alive}))
        message = f"It needs a {self.device} device; the workers that are alive have {have} only."
        return Waiting("no_device", message, position)


def at_a_glance(job: Job) -> Waiting | None:
    """What a job's own row says, for lists, where nobody counts."""
    if job.status not in ("queued", "preparing"):
        return None
    if job.resolved is None:
        return Waiting("inputs", "It waits until its teachers and datasets have been checked.")
    if job.started_at is not None:
        return None
    return Waiting("queue", "It is in line; its own address says at which place.")


def of_job(session: Session, job: Job, *, lease_seconds: float) -> Waiting | None:
    """What a job waits for; None if it's over, or one of its runs is at work."""
    if job.status not in ("queued", "preparing", "running"):
        return None
    since = workers.alive_since(lease_seconds)
    if job.resolved is None:
        return _for_inputs(session, job, since)
    is_at_work, run, delay = _next_run(session, job)
    if is_at_work or run is None:
        return None
    if delay > 0:
        return _delayed(session, run, delay)
    return _look(session, run, since).tell()


def of_new(session: Session, made: list[Job], *, lease_seconds: float) -> list[Waiting | None]:
    """What the jobs of one transaction wait for, in the order in which they were made.

    Those of one kind stand behind each other: only the first one's place is looked up.
    """
    since = workers.alive_since(lease_seconds)
    looks: dict[tuple[str, int], _Look] = {}
    found: list[Waiting | None] = []
    for job in made:
        if job.resolved is None:
            found.append(_for_inputs(session, job, since))
            continue
        kind = (str(job.resolved["resources"]["device"]), job.priority)
        if kind in looks:
            looks[kind] = looks[kind].behind()
        else:
            run = session.scalars(select(Run).where(Run.job == job.id, line.in_line())).one()
            looks[kind] = _look(session, run, since)
        found.append(looks[kind].tell())
    return found


def _next_run(session: Session, job: Job) -> tuple[bool, Run | None, float]:
    """Whether a run of a job is at work, the one that is claimed next, and seconds until then."""
    found = session.execute(_NEXT_RUN, {"job": job.id}).one()
    return bool(found[0]), found[1], float(found[2] or 0.0)


def _make_next_run() -> Select[bool, Run, float]:
    job = bindparam("job", type_=Job.id.type)
    # A lease ends at some time: said so, both databases look among the few that run.
    at_work = select(Run.id).where(
        Run.status == "running", Run.lease_expires_at > 0, Run.job == job
    )
    in_line = (
        select(Run.id)
        .where(Run.job == job, line.in_line())
        .order_by(Run.turn, Run.id)
        .limit(1)
        .correlate(None)
    )
    due = in_line.where(Run.not_before <= db_now())
    first = func.coalesce(due.scalar_subquery(), in_line.scalar_subquery())
    return (
        select(at_work.correlate(None).exists(), Run, Run.not_before - db_now())
        .select_from(Job)
        .outerjoin(Run, Run.id == first)
        .where(Job.id == job)
    )


_NEXT_RUN = _make_next_run()  # built once: that costs more than to ask it


def _for_inputs(session: Session, job: Job, since: float) -> Waiting:
    further = select(JobInput.object).where(JobInput.job == job.id)
    alive = select(Worker.id).where(Worker.last_seen_at > since).exists()
    states: dict[str, str] = {}
    is_alive = False
    for table, own in ((Teacher, job.teacher), (Dataset, job.dataset)):
        query = select(table.id, table.status, alive).where(
            or_(table.id == own, table.id.in_(further))
        )
        for key, status, alive_now in session.execute(query.order_by(table.id)):
            states[key], is_alive = status, bool(alive_now)
    missing = [_missing(key, states[key], job) for key in states if states[key] != "ready"]
    message = f"It waits until {' and '.join(missing) or 'its inputs have been checked'}."
    return Waiting("inputs", message if is_alive else f"{message} {NO_WORKER}")


def _missing(key: str, status: str, job: Job) -> str:
    kind = "teacher" if key.startswith("tch_") else "dataset"
    if kind == "dataset" and key != job.dataset:
        kind = "transfer set"
    return f"its {kind} {key} has been {'trained' if status == 'training' else 'checked'}"


def _delayed(session: Session, run: Run, delay: float) -> Waiting:
    why = session.scalar(
        select(Event.message)
        .where(Event.job == run.job, Event.run == run.id, Event.type == "run_requeued")
        .order_by(Event.id.desc())
        .limit(1)
    )
    return Waiting("delayed", f"It is tried again in {math.ceil(delay)} s. {why or ''}".strip())


def _look(session: Session, run: Run, since: float) -> _Look:
    able = line.KINDS if run.device_kind == "auto" else (run.device_kind,)
    asked = {"priority": run.priority, "turn": run.turn, "run": run.id, "since": since}
    rows = session.execute(_places(able), asked).all()
    counts = rows[0][2:]
    places = {kind: _Place(*counts[2 * i : 2 * i + 2]) for i, kind in enumerate(able)}
    alive = {(row[0], bool(row[1])) for row in rows if row[0] is not None}
    return _Look(run.device_kind, places, alive)


@cache
def _places(able: tuple[str, ...]) -> Select[Any]:
    """A row for each kind of live worker, each with the counts of what is ahead."""
    ahead = [line.ahead(kind) for kind in able]
    kinds = (
        select(Worker.kind, Worker.is_draining)
        .where(Worker.last_seen_at > bindparam("since", type_=Float))
        .distinct()
        .subquery()
    )
    columns = [column for each in ahead for column in (each.c.jobs, each.c.runs)]
    query = select(kinds.c.kind, kinds.c.is_draining, *columns).select_from(ahead[0])
    for joined in ahead[1:]:
        query = query.join(joined, true())
    return query.outerjoin(kinds, true())
