"""Tables as lines of JSON, the same from SQLite and from PostgreSQL; never a whole one in memory.

The tables are read off the database, not off `core.tables`: a backup has the columns of the
version that migrated it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Executable, MetaData, Table, event, func, insert, select, text
from sqlalchemy.types import JSON

from core.tables import Document

BATCH = 1_000


def reflect(connection: Connection) -> MetaData:
    """The tables that a database has, all but alembic's own."""
    metadata = MetaData()
    # As the database tells it, None would be written as JSON's null, not as SQL's.
    event.listen(metadata, "column_reflect", _take_documents)
    metadata.reflect(connection, only=lambda name, _: name != "alembic_version")
    return metadata


def write(connection: Connection, query: Executable, path: Path) -> int:
    """Write the rows of a query, an object a line, gzipped; how many there were."""
    found = connection.execute(query, execution_options={"yield_per": BATCH})
    names, count = list(found.keys()), 0
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        for row in found:
            values = dict(zip(names, row, strict=True))
            file.write(json.dumps(values, separators=(",", ":"), allow_nan=False) + "\n")
            count += 1
    return count


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The same rows, some at a time."""
    while batch := list(islice(rows, BATCH)):
        yield batch


def load(connection: Connection, table: Table, path: Path) -> int:
    """Insert the rows of a file; how many there were."""
    count = 0
    for batch in batches(read(path)):
        connection.execute(insert(table), batch)
        count += len(batch)
    _go_on_counting(connection, table)
    return count


def _take_documents(_inspector: Any, _table: Table, column: Any) -> None:
    if isinstance(column["type"], JSON):
        column["type"] = Document


def _go_on_counting(connection: Connection, table: Table) -> None:
    """Let PostgreSQL give out the ids behind the highest one; SQLite looks by itself."""
    counter = table.autoincrement_column
    if connection.dialect.name == "sqlite" or counter is None:
        return
    highest = connection.scalar(select(func.max(counter)))
    if highest is not None:
        connection.execute(
            text("SELECT setval(pg_get_serial_sequence(:table, :column), :highest)"),
            {"table": table.name, "column": counter.name, "highest": highest},
        )
