"""Indexes that are built while the service runs.

A migration that builds one does nothing else: on PostgreSQL it isn't one transaction, and
whoever interrupts it runs it again from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op


def build(name: str, table: str, columns: Sequence[str], *, where: str | None = None) -> None:
    """Create an index that isn't there; on PostgreSQL without stopping those who write."""
    only = None if where is None else sa.text(where)
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(name, table, list(columns), sqlite_where=only, if_not_exists=True)
        return
    with _beside_the_service():
        if _is_broken(name):
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        op.create_index(
            name,
            table,
            list(columns),
            postgresql_concurrently=True,
            postgresql_where=only,
            if_not_exists=True,
        )


def drop(name: str, table: str) -> None:
    """Drop an index that is there; on PostgreSQL without stopping anybody."""
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index(name, table_name=table, if_exists=True)
        return
    with _beside_the_service():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _beside_the_service() -> Iterator[None]:
    """No transaction, and no hurry: it waits for those that are open, and nobody waits for it."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        yield
        op.execute("SET lock_timeout = '5s'")


def _is_broken(name: str) -> bool:
    """Whether a build of it was interrupted: it's there, is written to, and no query uses it."""
    query = sa.text(
        "SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE relname = :name AND NOT indisvalid AND pg_table_is_visible(indrelid)"
    )
    return bool(op.get_bind().execute(query, {"name": name}).scalar())
