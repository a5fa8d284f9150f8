"""A backup: a folder with one moment of the database and all files that it names.

    backup.json         what it is; without it the folder holds no whole backup
    tables/<moment>/    <table>.jsonl.gz, and files.list.jsonl.gz: which files belong to it
    files/ab/<sha256>   content-addressed, so that the next backup copies only what is new

It's taken while the service runs. `backup.json` is renamed into its place when all else is
written and synced: until then the backup before is the whole one, with every file it names.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Executable, Select, exists, select
from sqlalchemy.exc import DBAPIError

from core import dump, files, migrate
from core.db import Database
from core.storage import Storage, address, digest
from core.tables import Checkpoint, File, FileUse
from stillhouse import __version__
from stillhouse.errors import Unavailable

TRIES = 3
_RUNS = "run\\_%"  # ids of runs, for LIKE


class Part(BaseModel):
    """A file of rows."""

    model_config = ConfigDict(frozen=True)
    path: str
    rows: int
    sha256: str


class Backup(BaseModel):
    """What backup.json says."""

    model_config = ConfigDict(frozen=True)
    format: Literal[1] = 1
    version: str
    """Of the service."""
    revision: str
    """Of the tables: the last migration."""
    created_at: float
    tables: dict[str, Part]
    files: Part | None
    """Which files belong to it; None: it was made without them."""


def write(database: Database, storage: Storage, folder: Path, *, with_files: bool) -> Backup:
    """Back up into a folder; a backup that is there already is replaced in the end.

    Raises `Unavailable` if the database isn't migrated, the storage lacks a file, or somebody
    else backs up into this folder.
    """
    with _alone(folder):
        for _ in range(TRIES):
            with contextlib.suppress(_CollectedError):
                return _write(database, storage, folder, with_files=with_files)
    raise Unavailable("Files were deleted faster than they could be held; try again.")


class _CollectedError(Exception):
    """A file of this moment was deleted before it was held: take a later moment."""


class _DamagedError(Exception):
    """The storage holds other bytes than the name says."""


def _write(database: Database, storage: Storage, folder: Path, *, with_files: bool) -> Backup:
    hold = secrets.token_hex(8)
    moment = folder / "tables" / f"{time.strftime('%Y%m%dT%H%M%S')}-{hold}"
    moment.mkdir(parents=True)
    started = _now_there(moment)
    try:
        made = _write_rows(database, moment, hold if with_files else None)
        for row in dump.read(folder / made.files.path) if made.files else ():
            _keep(database, storage, folder, str(row["sha256"]), int(row["bytes"]))
    except BaseException:
        shutil.rmtree(moment, ignore_errors=True)
        raise
    finally:
        # Whom a database that is away still holds is let go by the reconciler, days later.
        with contextlib.suppress(DBAPIError), database.write() as session:
            files.release(session, files.BACKUP, role=hold)
    _commit(made, folder)
    _drop_old(folder, moment, started if with_files else 0.0)
    return made


def _write_rows(database: Database, moment: Path, hold: str | None) -> Backup:
    """Dump all tables; with a name for the hold, hold the files that they name."""
    with database.snapshot() as connection:
        revision = migrate.current(connection)  # the first look: the moment is this one
        if revision is None:
            raise Unavailable("The database has no tables yet; there is nothing to back up.")
        listed = None
        if hold is not None:
            listed = _part(connection, needed(), moment / "files.list.jsonl.gz")
            _hold(database, moment / "files.list.jsonl.gz", hold)
        return Backup(
            version=__version__,
            revision=revision,
            created_at=time.time(),
            tables={
                table.name: _part(connection, select(table), moment / f"{table.name}.jsonl.gz")
                for table in dump.reflect(connection).sorted_tables
            },
            files=listed,
        )


def needed() -> Select[str, int]:
    """The files that rows name: (sha256, bytes). What a run has only begun to store is not."""
    kept = exists().where(
        FileUse.sha256 == File.sha256,
        FileUse.owner != files.BACKUP,
        FileUse.owner.not_like(_RUNS, escape="\\"),
    )
    resumed = exists().where(Checkpoint.sha256 == File.sha256)
    return select(File.sha256, File.bytes).where(kept | resumed)


def _part(connection: Connection, query: Executable, path: Path) -> Part:
    rows = dump.write(connection, query, path)
    return Part(path=f"tables/{path.parent.name}/{path.name}", rows=rows, sha256=digest(path)[0])


def _hold(database: Database, listed: Path, name: str) -> None:
    for batch in dump.batches(dump.read(listed)):
        hashes = [row["sha256"] for row in batch]
        with database.write() as session:
            files.hold(session, hashes, name)
        with database.read() as session:
            if len(files.known(session, hashes)) < len(hashes):
                raise _CollectedError


def _keep(database: Database, storage: Storage, folder: Path, sha256: str, size: int) -> None:
    path = place(folder, sha256)
    if path.exists() and path.stat().st_size == size:  # a power cut may have emptied it
        os.utime(path)  # what isn't needed any longer is older than all others in the end
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _copy(storage, sha256, size, path)
    except FileNotFoundError as error:
        with database.read() as session:
            if not files.known(session, [sha256]):
                raise _CollectedError from error
        raise _lost(database, sha256, "isn't in the storage") from error
    except _DamagedError as error:
        raise _lost(database, sha256, "is damaged in the storage") from error


def place(folder: Path, sha256: str) -> Path:
    """Where a file lies in a backup."""
    return folder / "files" / address(sha256)


def _copy(storage: Storage, sha256: str, size: int, path: Path) -> None:
    half, found = path.with_suffix(".half"), hashlib.sha256()
    with half.open("wb") as file:
        for chunk in storage.read(sha256, 0, size):
            file.write(chunk)
            found.update(chunk)
    if found.hexdigest() != sha256:
        raise _DamagedError
    half.replace(path)


def _lost(database: Database, sha256: str, trouble: str) -> Unavailable:
    with database.read() as session:
        owners = files.owners(session, sha256)
    named = ", ".join(owners[:5]) + (f" and {len(owners) - 5} more" if len(owners) > 5 else "")
    return Unavailable(
        f"File {sha256} {trouble}, and it belongs to {named}: bring it back, or delete what it "
        "belongs to. Nothing was backed up; --without-files backs up the rows alone."
    )


def _commit(made: Backup, folder: Path) -> None:
    half = folder / "backup.json.half"
    half.write_text(made.model_dump_json(indent=2) + "\n")
    os.sync()  # all that was written, once; file by file would take many times as long
    half.replace(folder / "backup.json")
    os.sync()


def _drop_old(folder: Path, moment: Path, started: float) -> None:
    """Remove the rows of the backup before, and the files that only it named."""
    for other in (folder / "tables").iterdir():
        if other != moment:
            shutil.rmtree(other)
    for path in (folder / "files").glob("*/*"):
        if path.stat().st_mtime < started:
            path.unlink()


def _now_there(folder: Path) -> float:
    """The time by the clock of the disk that a folder is on."""
    probe = folder / "clock"
    probe.touch()
    found = probe.stat().st_mtime
    probe.unlink()
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two that write into one folder would take away each other's rows."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Unavailable(f"Another backup into {folder} is being written.") from error
    finally:
        os.close(descriptor)
