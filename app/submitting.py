"""Submits as the database likes them: those that arrive together are one transaction."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, IntegrityError

from app.batches import Batches
from core import idempotency
from core.db import Database
from core.idempotency import Claim
from core.submissions import Submission, Writing
from stillhouse.errors import StillhouseError

AT_MOST = 32

Asked = tuple[Submission, Claim | None]
Made = tuple[str, bool]
"""A job's id, and whether its Idempotency-Key had made it before."""


def open_queue(database: Database) -> Batches[Asked, Made]:
    """Where submits are handed in."""
    return Batches(lambda asked: _submit(database, asked), at_most=AT_MOST)


def _submit(database: Database, asked: list[Asked]) -> list[Made | Exception]:
    """Write all of them, or each by itself if one spoils the transaction of the others."""
    try:
        return _together(database, asked)
    except IntegrityError:
        # Another replica was given one of these Idempotency-Keys meanwhile; now it is found.
        return [_alone(database, each) for each in asked]
    except DBAPIError:
        raise
    except Exception:
        if len(asked) == 1:
            raise
        return [_alone(database, each) for each in asked]


def _alone(database: Database, asked: Asked) -> Made | Exception:
    try:
        return _together(database, [asked])[0]
    except Exception as error:  # noqa: BLE001  it is this caller's own answer
        return error


def _together(database: Database, asked: list[Asked]) -> list[Made | Exception]:
    found: list[Made | Exception] = []
    with database.write() as session:
        writing = Writing(session)
        for submission, claim in asked:
            try:
                known = idempotency.find(session, claim) if claim else None
                if known is not None:
                    found.append((known, True))
                    continue
                job = writing.add(submission)
            except StillhouseError as error:
                found.append(error)
                continue
            if claim is not None:
                idempotency.record(session, claim, job.id)
            found.append((job.id, False))
        writing.write()
    return found
