"""Alembic's entry: the same tables on SQLite and PostgreSQL, one migrating process at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import context
from sqlalchemy import Connection

from core import settings
from core.db import Database
from core.tables import Base

config = context.config
log = logging.getLogger(__name__)

LOCK = 5477  # any number that nobody else takes
LOOK_SECONDS = 0.2
SAY_EVERY = 25  # looks


def _run() -> None:
    database = Database(config.attributes.get("url") or settings.load().database)
    alone = _alone_on_sqlite if database.is_sqlite else _alone_on_postgres
    try:
        with alone(database) as connection:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_as_batch=database.is_sqlite,
                compare_type=True,
                transaction_per_migration=True,
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        database.close()


@contextmanager
def _alone_on_sqlite(database: Database) -> Iterator[Connection]:
    """One transaction around all migrations: whoever waits for it reads what they left."""
    engine = database.engine.execution_options(begin="IMMEDIATE")
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        # A batch operation drops and renames tables: with the keys on, each row that refers to
        # one would go with it. It can't be switched inside a transaction.
        driver.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                yield connection
                _refuse_dangling(connection)
        finally:
            driver.execute("PRAGMA foreign_keys = ON")


def _refuse_dangling(connection: Connection) -> None:
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if dangling is not None:
        message = f"a migration left a row of {dangling[0]} that refers to nothing"
        raise ValueError(message)


@contextmanager
def _alone_on_postgres(database: Database) -> Iterator[Connection]:
    """A lock that ends with its connection, whatever happens to this process."""
    with database.engine.connect() as connection:
        _take_turn(connection)
        # A migration that can't get its lock fails: whoever comes later would queue behind it.
        connection.exec_driver_sql("SET lock_timeout = '5s'")
        connection.commit()
        yield connection
        connection.commit()


def _take_turn(connection: Connection) -> None:
    # Asking, not waiting: an index that is built concurrently would wait for who waits here.
    looks = 0
    while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({LOCK})").scalar():
        connection.rollback()
        if looks % SAY_EVERY == 0:
            log.warning("another process migrates this database; waiting for it")
        looks += 1
        threading.Event().wait(LOOK_SECONDS)
    connection.commit()


_run()
