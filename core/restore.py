"""Put a backup into an empty database and its storage, whichever kinds they are.

Files come first: without rows they mean nothing, and a second try finds them there. The rows
come in one transaction, into tables of the backup's own version, which are then migrated.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from alembic import command
from pydantic import ValidationError
from sqlalchemy import Connection, MetaData, select, update

from core import backup, dump, leases, migrate, presence
from core.backup import Backup, Part
from core.db import Database
from core.storage import CHUNK_BYTES, Storage, digest, is_hash
from core.tables import Run
from stillhouse.errors import Conflict, DigestMismatch, Refused

log = logging.getLogger(__name__)

# What a service that was only started writes by itself; the backup's rows take its place.
OBJECTS = frozenset({"teachers", "datasets", "jobs", "students"})
"""What somebody would miss; a database without them was only started."""


def read(folder: Path) -> Backup:
    """What a folder holds.

    Raises `Refused` if it holds no whole backup, one that is damaged, or one that this version
    doesn't understand.
    """
    try:
        found = Backup.model_validate_json((folder / "backup.json").read_bytes())
    except FileNotFoundError as error:
        raise Refused(f"{folder} holds no whole backup: there is no backup.json.") from error
    except ValidationError as error:
        raise Refused(f"{folder}/backup.json is damaged, or of a newer version.") from error
    if found.revision not in migrate.revisions():
        raise Refused(
            f"The backup is of a newer version ({found.version}, tables {found.revision}): "
            "restore it with that one."
        )
    for part in (*found.tables.values(), *([found.files] if found.files else [])):
        _require_whole(folder, part)
    _require_tables(found)
    for part in (found.tables["files"], *([found.files] if found.files else [])):
        _require_hashes(folder, part)
    return found


def restore(database: Database, storage: Storage, folder: Path) -> Backup:
    """Put a backup into a database without objects; nobody else may use it meanwhile.

    Raises `Conflict` if there are objects in it; `Refused` if the backup isn't whole.
    """
    found = read(folder)
    presence.wait(database)
    with database.engine.connect() as connection:
        _require_empty(connection, dump.reflect(connection))
    if found.files is not None:
        storage.prepare()
        for row in dump.read(folder / found.files.path):
            _bring(storage, backup.place(folder, row["sha256"]), row["sha256"])
    _make_tables(database, found.revision)
    _load(database, folder, found)
    migrate.upgrade(database.url)
    _requeue(database)
    return found


def _require_whole(folder: Path, part: Part) -> None:
    path = folder / part.path
    if not path.is_file() or digest(path)[0] != part.sha256:
        raise Refused(f"The backup is damaged: {path} is missing, or isn't what was written.")


def _require_tables(found: Backup) -> None:
    """Compare with the tables that its migrations make, in a database for this alone."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/tables.db")
        try:
            command.upgrade(migrate.config(database.url), found.revision)
            with database.engine.connect() as connection:
                lacking = set(dump.reflect(connection).tables) - set(found.tables)
        finally:
            database.close()
    if lacking:
        raise Refused(
            f"The backup is damaged: backup.json lacks the tables {', '.join(sorted(lacking))}."
        )


def _require_hashes(folder: Path, part: Part) -> None:
    """Names that are no hashes would be paths, which the service reads and deletes."""
    for row in dump.read(folder / part.path):
        if not is_hash(str(row.get("sha256"))):
            raise Refused(
                f"The backup is damaged: {row.get('sha256')!r} in {part.path} is no SHA-256."
            )


def _require_empty(connection: Connection, metadata: MetaData) -> None:
    for table in metadata.sorted_tables:
        if table.name not in OBJECTS:
            continue  # what a start leaves, and uploads that nothing names: both are replaced
        if connection.execute(select(1).select_from(table).limit(1)).first() is not None:
            raise Conflict(
                f"The database isn't empty (there are {table.name}): nothing was restored. Name "
                "a new one in STILLHOUSE_DATABASE_URL, or move the old one away (a data folder; "
                "under Compose `docker volume rm stillhouse_db`)."
            )


def _bring(storage: Storage, path: Path, sha256: str) -> None:
    if storage.has(sha256):
        return
    try:
        incoming = storage.receive(sha256, path.stat().st_size)
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    incoming.write([chunk])
            incoming.keep()
        finally:
            incoming.close()
    except (FileNotFoundError, DigestMismatch) as error:
        raise Refused(
            f"The backup is damaged: {path} is missing, or isn't what was written. No row was "
            "restored."
        ) from error


def _make_tables(database: Database, revision: str) -> None:
    """Empty tables as the backup's version had them, whatever was there."""
    with database.engine.begin() as connection:
        metadata = MetaData()
        metadata.reflect(connection)
        metadata.drop_all(connection)
    command.upgrade(migrate.config(database.url), revision)


def _load(database: Database, folder: Path, found: Backup) -> None:
    with database.write() as session:
        connection = session.connection()
        for table in dump.reflect(connection).sorted_tables:
            rows = dump.load(connection, table, folder / found.tables[table.name].path)
            log.info("restored %d rows of %s", rows, table.name)
        # Who held a lease is gone: its run goes back to the queue, under a higher fence.
        session.execute(update(Run).where(Run.status == "running").values(lease_expires_at=0.0))


def _requeue(database: Database) -> None:
    while True:
        with database.write() as session:
            if not leases.expire(session):
                return
