"""Alembic's entry: the same tables on SQLite and PostgreSQL."""

from __future__ import annotations

from alembic import context

from core import settings
from core.db import Database
from core.tables import Base

config = context.config


def _run() -> None:
    url = config.attributes.get("url") or settings.load().database
    database = Database(url)
    engine = database.engine
    if database.is_sqlite:
        # The driver's own BEGIN would end at the first DDL statement; IMMEDIATE holds it together.
        engine = engine.execution_options(begin="IMMEDIATE")
    with engine.connect() as connection:
        if not database.is_sqlite:
            # Two replicas that start together migrate one after the other.
            connection.exec_driver_sql("SELECT pg_advisory_lock(5477)")
            # A migration that can't get its lock fails instead of stopping the service.
            connection.exec_driver_sql("SET lock_timeout = '5s'")
            connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=database.is_sqlite,
            compare_type=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
        connection.detach()  # the lock ends with the connection, not with the pool
    database.close()


_run()
