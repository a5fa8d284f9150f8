"""Alembic's entry: the same tables on SQLite and PostgreSQL."""

from __future__ import annotations

from alembic import context

from core.db import Database
from core.settings import Settings
from core.tables import Base

config = context.config


def _run() -> None:
    url = config.attributes.get("url") or Settings().database
    database = Database(url)
    engine = database.engine
    if database.is_sqlite:
        # The driver's own BEGIN would end at the first DDL statement; IMMEDIATE holds it together.
        engine = engine.execution_options(begin="IMMEDIATE")
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=database.is_sqlite,
            compare_type=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            if not database.is_sqlite:
                # A migration that can't get its lock fails instead of stopping the service.
                connection.exec_driver_sql("SET lock_timeout = '5s'")
            context.run_migrations()
        connection.commit()
    database.close()


_run()
