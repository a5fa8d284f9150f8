"""Submits as the database likes them: those that arrive together are one transaction."""

from __future__ import annotations

from functools import partial

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.batches import Batches
from core import idempotency, waiting
from core.db import Database, trouble
from core.idempotency import Claim
from core.submissions import Submission, Writing
from core.tables import Job
from core.waiting import Waiting
from stillhouse.errors import StillhouseError

AT_MOST = 32

Asked = tuple[Submission, Claim | None]
Made = tuple[Job, Waiting | None] | str
"""The job and what it waits for; or the id of the one that its Idempotency-Key had made before."""


def open_queue(database: Database, *, lease_seconds: float) -> Batches[Asked, Made]:
    """Where submits are handed in."""
    return Batches(partial(submit, database, lease_seconds), at_most=AT_MOST)


def submit(database: Database, lease_seconds: float, asked: list[Asked]) -> list[Made | Exception]:
    """Write all of them, or each by itself if one spoils the transaction of the others."""
    try:
        return _together(database, lease_seconds, asked)
    except Exception as error:
        if _is_everybodys(error):
            raise
        # One of them spoils it; or another replica was given its Idempotency-Key meanwhile, and
        # now it is found.
        return [_alone(database, lease_seconds, each) for each in asked]


def _is_everybodys(error: Exception) -> bool:
    """The database is away, or has no connection left: each alone would only wait as long."""
    if isinstance(error, PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and trouble(error) != "ours"


def _alone(database: Database, lease_seconds: float, asked: Asked) -> Made | Exception:
    try:
        return _together(database, lease_seconds, [asked])[0]
    except Exception as error:  # noqa: BLE001  it is this caller's own answer
        return error


def _together(
    database: Database, lease_seconds: float, asked: list[Asked]
) -> list[Made | Exception]:
    found: list[Job | str | Exception] = []
    with database.write() as session:
        writing = Writing(session)
        for submission, claim in asked:
            try:
                known = idempotency.find(session, claim) if claim else None
                if known is not None:
                    found.append(known)
                    continue
                job = writing.add(submission)
            except StillhouseError as error:
                found.append(error)
                continue
            if claim is not None:
                idempotency.record(session, claim, job.id)
            found.append(job)
        writing.write()
        made = [each for each in found if isinstance(each, Job)]
        why = iter(waiting.of_new(session, made, lease_seconds=lease_seconds))
    return [(each, next(why)) if isinstance(each, Job) else each for each in found]
