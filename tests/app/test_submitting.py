from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from app import submitting
from core import idempotency
from core.db import Database
from core.idempotency import Claim
from core.submissions import Submission
from core.tables import Event, IdempotencyKey, Job, JobLabel, Run
from core.waiting import Waiting
from stillhouse.errors import IdempotencyKeyReused, ReferenceNotFound
from stillhouse.spec import JobSpec
from tests import stage as stage_module
from tests.stage import Stage

CLAIM = Claim(tenant="default", path="/v1/jobs", key="once", body_sha256="a" * 64)


@pytest.fixture
def spec(stage: Stage) -> JobSpec:
    fields = stage_module.job_spec(stage.teacher(), stage.dataset(), metadata={"ticket": "ML-7"})
    return JobSpec.model_validate(fields)


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """What is executed, but for BEGIN and COMMIT."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


def submit(database: Database, *asked: submitting.Asked) -> list[submitting.Made | Exception]:
    return submitting.submit(database, 60.0, list(asked))


def made(found: submitting.Made | Exception) -> tuple[Job, Waiting | None]:
    assert isinstance(found, tuple)
    return found


def count(database: Database, table: type[Job | Run | JobLabel | Event]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_batch_is_a_handful_of_statements_however_many_are_in_it(
    database: Database, spec: JobSpec, statements: list[str]
) -> None:
    submit(database, (Submission("default", spec), None))
    alone = len(statements)
    statements.clear()
    submit(database, *((Submission("default", spec), None) for _ in range(20)))
    assert len(statements) == alone
    assert count(database, Job) == 21
    assert count(database, JobLabel) == 21


def test_each_stands_in_line_behind_the_one_before(database: Database, spec: JobSpec) -> None:
    found = submit(database, *((Submission("default", spec), None) for _ in range(3)))
    places = [why.position for _, why in map(made, found) if why is not None]
    assert places == [1, 2, 3]


def test_one_that_is_refused_leaves_the_others_theirs(database: Database, spec: JobSpec) -> None:
    good = (Submission("default", spec), None)
    bad = (Submission("another", spec), None)
    first, refused, last = submit(database, good, bad, good)
    assert isinstance(refused, ReferenceNotFound)
    assert made(first)[0].id < made(last)[0].id
    assert count(database, Job) == 2


def test_one_key_in_one_batch_makes_one_job(database: Database, spec: JobSpec) -> None:
    asked = (Submission("default", spec), CLAIM)
    first, again = submit(database, asked, asked)
    assert again == made(first)[0].id
    other = Claim(tenant="default", path="/v1/jobs", key="once", body_sha256="b" * 64)
    (reused,) = submit(database, (Submission("default", spec), other))
    assert isinstance(reused, IdempotencyKeyReused)
    assert count(database, Job) == 1


def test_one_that_spoils_the_transaction_leaves_the_others_theirs(
    database: Database, spec: JobSpec
) -> None:
    good = (Submission("default", spec), None)
    before = count(database, Run)
    submit(database, good)
    each = count(database, Run) - before
    spoils = (Submission("default", spec, kind=None), None)  # type: ignore[arg-type]  # on purpose
    first, spoilt, last = submit(database, good, spoils, good)
    assert isinstance(spoilt, Exception)
    assert made(first)
    assert made(last)
    assert (count(database, Job), count(database, Run)) == (3, before + 3 * each)


def test_without_a_connection_a_batch_waits_once_and_not_for_each(
    database: Database, spec: JobSpec
) -> None:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    pool._timeout = 0.2
    with contextlib.ExitStack() as stack:
        for _ in range(pool.size() + pool._max_overflow):
            stack.enter_context(database.engine.connect())
        began = time.monotonic()
        with pytest.raises(PoolTimeout):
            submit(database, *((Submission("default", spec), None) for _ in range(20)))
        assert time.monotonic() - began < 2
    assert count(database, Job) == 0


def test_a_key_that_another_replica_was_given_first_is_answered_with_its_job(
    database: Database, spec: JobSpec
) -> None:
    with database.write() as session:
        idempotency.record(session, CLAIM, "job_of_the_other")
    assert submit(database, (Submission("default", spec), CLAIM)) == ["job_of_the_other"]
    with database.read() as session:
        assert len(session.scalars(select(IdempotencyKey)).all()) == 1
