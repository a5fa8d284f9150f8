"""Transactions: `with database.write() as session:` is one, `database.read()` is another.

The same code runs on SQLite and PostgreSQL. A writing transaction on SQLite begins
IMMEDIATE: two writers queue at its start instead of failing in its middle.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Float, create_engine, event
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# 20 connections for the API's 40 threads, since few ask at the same moment and the others wait
# for less than a connection takes to be made; a server allows 100 by default, for all processes.
_POOL = {"pool_size": 10, "max_overflow": 10}
# A host that vanishes says nothing: it is noticed after some 20 seconds, not after minutes.
# The same names in the URL's query come first.
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20000,  # milliseconds
}
_LACKS = ("42P01", "42703")  # PostgreSQL's undefined_table and undefined_column
_LACKING = ("no such table", "no such column")  # SQLite's words for them


class db_now(FunctionElement[float]):  # noqa: N801  it is written like a SQL function
    """The database's clock, in seconds since 1970. Leases never use a machine's own clock."""

    type = Float()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(_element: db_now, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _postgres_now(_element: db_now, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """An engine and the two kinds of transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _make_engine(url)
        self._writer = self.engine.execution_options(begin="IMMEDIATE")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed when the block ends, rolled back when it raises."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A reading transaction that sees one moment of the database, however long it lasts."""
        engine = self.engine
        if not self.is_sqlite:  # there, every transaction is one
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Drop all connections."""
        self.engine.dispose()


def trouble(error: DBAPIError) -> Literal["away", "full", "behind", "ours"]:
    """Whether an error passes by itself, needs room or a migration, or is a defect of ours."""
    text = str(error.orig).lower()
    if getattr(error.orig, "sqlstate", None) in _LACKS or any(sign in text for sign in _LACKING):
        return "behind"
    if "disk is full" in text or "no space left" in text:
        return "full"
    is_operational = isinstance(error, OperationalError)
    if error.connection_invalidated or (
        is_operational and ("sqlite" not in type(error.orig).__module__ or _passes(text))
    ):
        return "away"
    return "ours"


def _passes(text: str) -> bool:
    signs = ("locked", "busy", "disk i/o", "unable to open", "readonly", "closed")
    return any(sign in text for sign in signs)


def _make_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": 10}, pool_size=10, max_overflow=40)
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    patience = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
    engine = create_engine(parsed, pool_pre_ping=True, connect_args=patience, **_POOL)
    event.listen(engine, "do_connect", _connect)
    return engine


def _connect(dialect: Dialect, _record: Any, given: list[Any], named: dict[str, Any]) -> Any:
    # An error that failed to connect holds, by its frames, the half-open connection, which holds
    # the error: only the garbage collector would close it, and in an outage there are many.
    try:
        return dialect.connect(*given, **named)
    except dialect.loaded_dbapi.Error as error:
        raise error.with_traceback(None) from None


def _tune_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver must not begin transactions by itself, or IMMEDIATE comes too late.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a 201 survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 10000")


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
