"""What holds for each migration there is and will be, on both databases."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Table, insert, select, text

from core import dump, migrate
from core.db import Database
from tests import servers, waiting

REVISIONS = list(migrate.revisions())


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new.db'}"
    return servers.fresh_postgres_database(request.getfixturevalue("postgres_server"))


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def up(url: str, revision: str) -> None:
    command.upgrade(migrate.config(url), revision)


@pytest.mark.parametrize(("before", "after"), list(pairwise(REVISIONS)))
def test_the_version_before_writes_and_reads_the_newer_tables(
    empty_url: str, before: str, after: str
) -> None:
    up(empty_url, before)
    with opened(empty_url) as database:
        with database.engine.connect() as connection:
            old = dump.reflect(connection).sorted_tables
        up(empty_url, after)
        with database.write() as session:
            for table in old:
                row = row_of(table)
                session.execute(insert(table).values(row))
                assert dict(session.execute(select(table)).one()._mapping) == row


def row_of(table: Table) -> dict[str, Any]:
    """A value of its type in every column; a row refers to the one before of the same values."""
    samples = {str: "x", int: 1, float: 1.5, bool: True, object: {"a": 1}}  # object: JSON
    return {each.name: samples[each.type.python_type] for each in table.columns}


def test_a_migration_keeps_what_is_there(empty_url: str) -> None:
    up(empty_url, REVISIONS[0])
    with opened(empty_url) as database:
        with database.write() as session:
            tables = dump.reflect(session.connection()).sorted_tables
            for table in tables:
                session.execute(insert(table).values(row_of(table)))
        migrate.upgrade(empty_url)
        with database.read() as session:
            for table in tables:
                assert dict(session.execute(select(table)).one()._mapping) == row_of(table)


def test_a_newer_database_is_left_as_it_is_and_used(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    migrate.upgrade(empty_url)
    with opened(empty_url) as database:
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        migrate.upgrade(empty_url)
        assert "a newer version" in caplog.text
        assert migrate.lacking(database) == []
        with database.read() as session:
            assert migrate.current(session.connection()) == "9999"


def test_replicas_that_start_together_migrate_one_after_the_other(empty_url: str) -> None:
    replicas = [Migrating(empty_url) for _ in range(2)]
    assert [replica.end() for replica in replicas] == [0, 0]
    with opened(empty_url) as database:
        assert migrate.lacking(database) == []


@pytest.mark.parametrize("statement", ["CREATE TABLE keys", "ALTER TABLE workers", "ix_runs_line"])
def test_a_migration_that_was_killed_in_its_middle_goes_on(empty_url: str, statement: str) -> None:
    up(empty_url, REVISIONS[0])
    killed = Migrating(empty_url, stand_after=statement)
    killed.wait_until_standing()
    killed.process.send_signal(signal.SIGKILL)
    killed.end()
    migrate.upgrade(empty_url)
    with opened(empty_url) as database:
        assert migrate.lacking(database) == []
    command.check(migrate.config(empty_url))


class Migrating:
    """A process that migrates; it stands still behind a statement, if it is told to."""

    CODE = """
import sys
from sqlalchemy import Engine, event
from core import migrate

def stand(connection, cursor, statement, *_):
    if mark and mark in statement:
        print("standing", flush=True)
        sys.stdin.read()

mark = sys.argv[2]
event.listen(Engine, "after_cursor_execute", stand)
migrate.upgrade(sys.argv[1])
"""

    def __init__(self, url: str, *, stand_after: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, url, stand_after],
            cwd=servers.CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def wait_until_standing(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"standing\n"

    def end(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


def test_an_index_whose_building_was_interrupted_is_built_anew(postgres_server: str) -> None:
    url = servers.fresh_postgres_database(postgres_server)
    up(url, "0002")
    with opened(url) as database, database.write() as session:
        session.execute(text("CREATE INDEX ix_runs_started ON runs (started_at)"))
        session.execute(text(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_runs_started'::regclass"
        ))  # fmt: skip
    migrate.upgrade(url)
    with opened(url) as database, database.read() as session:
        query = text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        assert session.scalar(query) == 0


def test_a_migration_that_waits_for_a_table_lets_the_service_pass(
    postgres_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = servers.fresh_postgres_database(postgres_server)
    up(url, REVISIONS[0])
    with opened(url) as database:
        with database.write() as session:
            session.execute(text("LOCK TABLE workers IN ACCESS SHARE MODE"))
            migrating = threading.Thread(target=migrate.upgrade, args=(url,))
            migrating.start()
            waiting.until(lambda: "tried again" in caplog.text, what="a try that was broken off")
            with database.read() as other:  # it doesn't queue behind the migration
                other.execute(text("SELECT * FROM workers"))
        migrating.join(60)
        assert migrate.lacking(database) == []
