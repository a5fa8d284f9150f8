"""A migrated database with many jobs: some made by `core.jobs`, then copied by SQL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, MetaData, String, Table, insert, select, text, true, update
from sqlalchemy.orm import Session

from core import migrate
from core.db import Database
from core.storage import LocalStorage
from core.tables import Job, JobLabel, Run
from tests.stage import Stage

FIRST = 1000
QUEUED = 10
"""Of the first ones; the others have succeeded."""
_SUFFIXES = Table(
    "suffixes", MetaData(), Column("suffix", String(8), primary_key=True), prefixes=["TEMPORARY"]
)
_LONGER = {Job: ("id",), JobLabel: ("job",), Run: ("id", "job", "slot")}


def make(database_url: str, folder: Path, *, factor: int) -> Database:
    """Fill a new database.

    Args:
        database_url: of an empty database.
        folder: for the few files that jobs name.
        factor: a power of ten: how many jobs for each of the first.

    Returns:
        The database, opened: FIRST × factor jobs with one run and one label each.
    """
    migrate.upgrade(database_url)
    database = Database(database_url)
    _make_first(Stage(database, storage(folder)))
    if factor > 1:
        with database.write() as session:
            _write_suffixes(session, factor)
            for table in (Job, JobLabel, Run):
                _copy(session, table)
    with database.read() as session:
        session.execute(text("ANALYZE"))
    return database


def _make_first(stage: Stage) -> None:
    dataset, teacher = stage.dataset(), stage.teacher()
    made = [
        stage.job(
            teacher=teacher, dataset=dataset, seeds=1, controls=[], metadata={"ticket": f"T-{n}"}
        )
        for n in range(FIRST)
    ]
    over = made[: FIRST - QUEUED]
    with stage.database.write() as session:
        for run in session.query(Run).where(Run.job.is_not(None), Run.kind != "prepare"):
            session.delete(run)
        session.execute(update(Job).where(Job.id.in_(over)).values(status="succeeded"))
        ended = {"status": "succeeded", "device": "cpu", "started_at": 1.0, "finished_at": 2.0}
        session.execute(update(Run).where(Run.job.in_(over)).values(ended))


def _write_suffixes(session: Session, factor: int) -> None:
    _SUFFIXES.create(session.connection())
    length = len(str(factor - 1))
    words = [{"suffix": f"{number:0{length}d}"} for number in range(1, factor)]
    session.execute(insert(_SUFFIXES), words)


def _copy(session: Session, table: type[Job | JobLabel | Run]) -> None:
    """Write every row once more for each suffix, its ids longer by it."""
    longer = _LONGER[table]
    columns = {
        each.name: each + _SUFFIXES.c.suffix if each.name in longer else each
        for each in table.__table__.columns
    }
    query = select(*columns.values()).join_from(table, _SUFFIXES, true())
    if table is Run:
        query = query.where(Run.job.is_not(None))
    session.execute(insert(table).from_select(list(columns), query))


def storage(folder: Path) -> LocalStorage:
    """For the few files that jobs name."""
    return LocalStorage(folder)
