import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import func, null, select, text

from core import backup, dump, files, migrate, restore
from core.db import Database
from core.settings import Settings
from core.storage import LocalStorage, Storage, open_storage
from core.tables import Dataset, Event, File, FileUse, Job, Key, LogChunk, Run, Worker
from stillhouse.errors import Conflict, Refused, Unavailable
from tests import servers
from tests.stage import Stage, sha256

Empty = Callable[[], Database]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def storage_elsewhere(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "elsewhere")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A new database of each kind, without tables."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    else:
        url = servers.fresh_postgres_database(request.getfixturevalue("postgres_server"))
    database = Database(url)
    yield database
    database.close()


def take(stage: Stage, folder: Path, *, with_files: bool = True) -> backup.Backup:
    return backup.write(stage.database, stage.storage, folder, with_files=with_files)


def rows_of(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.read() as session:
        tables = dump.reflect(session.connection()).sorted_tables
        return {
            table.name: [
                dict(row._mapping)
                for row in session.execute(select(table).order_by(*table.columns.values()[:2]))
            ]
            for table in tables
        }


def files_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / "files").glob("*/*")}


def test_what_is_restored_is_what_was_there(
    stage: Stage, folder: Path, database_elsewhere: Database, storage_elsewhere: Storage
) -> None:
    stage.worker()
    stage.job(metadata={"ticket": "grüße"}, name="one")
    with stage.database.write() as session:
        session.add(Key(id="key_1", sha256=sha256(b"a key"), scopes=["read"], labels={}))
    before = rows_of(stage.database)

    take(stage, folder)
    restore.restore(database_elsewhere, storage_elsewhere, folder)

    assert rows_of(database_elsewhere) == before
    with database_elsewhere.read() as session:
        assert session.scalars(select(Job.id).where(Job.report.is_(null()))).all()  # not JSON's
    with stage.database.read() as session:
        needed = session.scalars(select(FileUse.sha256)).all()
    assert needed
    for each in needed:
        assert storage_elsewhere.has(each)


def test_a_folder_moves_into_a_bucket_and_back(
    sqlite_stage: Stage, folder: Path, tmp_path: Path, bucket_url: str
) -> None:
    upload = sqlite_stage.upload(b"an upload")
    take(sqlite_stage, folder)
    bucket = open_storage(Settings(data_dir=tmp_path / "host", storage_url=bucket_url))
    there = Database(f"sqlite:///{tmp_path / 'there.db'}")
    restore.restore(there, bucket, folder)
    assert b"".join(bucket.read(upload, 0, 9)) == b"an upload"
    backup.write(there, bucket, tmp_path / "again", with_files=True)
    assert backup.place(tmp_path / "again", upload).read_bytes() == b"an upload"
    there.close()


def test_ids_that_count_go_on_behind_the_highest(
    stage: Stage, folder: Path, database_elsewhere: Database, storage_elsewhere: Storage
) -> None:
    job = stage.job()
    run = stage.runs(job)[0].id
    with stage.database.write() as session:
        session.add(Event(id=700, job=job, type="t", message="m"))
        session.add(LogChunk(id=800, run=run, text="t"))
    take(stage, folder)
    restore.restore(database_elsewhere, storage_elsewhere, folder)
    with database_elsewhere.write() as session:
        session.add(Event(job=job, type="t", message="m"))
        session.add(LogChunk(run=run, text="t"))
        session.flush()
        assert session.scalar(select(func.max(Event.id))) == 701
        assert session.scalar(select(func.max(LogChunk.id))) == 801


def test_a_run_that_was_running_goes_back_to_the_queue_under_a_higher_fence(
    sqlite_stage: Stage, folder: Path, database_elsewhere: Database, storage_elsewhere: Storage
) -> None:
    sqlite_stage.job()
    lease = sqlite_stage.take(lease_seconds=3600)
    take(sqlite_stage, folder)
    restore.restore(database_elsewhere, storage_elsewhere, folder)
    elsewhere = Stage(database_elsewhere, storage_elsewhere)
    run = elsewhere.get(Run, lease.run.id)
    assert (run.status, run.worker) == ("queued", None)
    assert run.fence > lease.fence
    assert elsewhere.take().run.id == lease.run.id
    assert elsewhere.end_well(lease) is None


def test_a_backup_of_older_tables_is_restored_into_newer_ones(
    tmp_path: Path, folder: Path, database_elsewhere: Database, storage_elsewhere: Storage
) -> None:
    old = Database(f"sqlite:///{tmp_path / 'old.db'}")
    command.upgrade(migrate.config(old.url), "0001")
    with old.write() as session:
        session.execute(text(
            "INSERT INTO workers VALUES ('wrk_1', 'w', 'ready', 'cpu', 5, NULL, '0.1', 1.0, 2.0)"
        ))  # fmt: skip
    made = backup.write(old, storage_elsewhere, folder, with_files=True)
    old.close()
    assert made.revision == "0001"
    restore.restore(database_elsewhere, storage_elsewhere, folder)
    assert migrate.lacking(database_elsewhere) == []
    with database_elsewhere.read() as session:
        assert session.get_one(Worker, "wrk_1").kind == "cpu"


def test_a_database_with_objects_is_refused_and_one_that_was_only_started_is_not(
    sqlite_stage: Stage, folder: Path, database: Database, storage: Storage
) -> None:
    sqlite_stage.teacher()
    take(sqlite_stage, folder)
    Stage(database, storage).worker()
    restore.restore(database, storage, folder)
    before = rows_of(database)
    assert before["workers"] == []
    with pytest.raises(Conflict, match="isn't empty"):
        restore.restore(database, storage, folder)
    assert rows_of(database) == before


def test_the_next_backup_copies_what_is_new_and_drops_what_nothing_names(
    sqlite_stage: Stage, folder: Path
) -> None:
    kept, dropped = sqlite_stage.upload(b"kept"), sqlite_stage.upload(b"dropped")
    take(sqlite_stage, folder)
    assert files_in(folder) == {kept, dropped}
    before = backup.place(folder, kept).stat().st_ino

    sqlite_stage.write(files.forget_upload, "default", dropped)
    new = sqlite_stage.upload(b"new")
    take(sqlite_stage, folder)
    assert files_in(folder) == {kept, new}
    assert backup.place(folder, kept).stat().st_ino == before
    assert len(list((folder / "tables").iterdir())) == 1
    with sqlite_stage.database.read() as session:
        assert session.scalars(select(FileUse.sha256).where(FileUse.owner == "backup")).all() == []


def test_a_file_of_the_moment_is_copied_though_it_is_deleted_meanwhile(
    stage: Stage, folder: Path
) -> None:
    uploads = [stage.upload(each) for each in (b"first", b"second")]
    forgetful = Forgetful(stage)
    backup.write(stage.database, forgetful, folder, with_files=True)
    assert forgetful.was_asked
    assert files_in(folder) == set(uploads)
    assert set(collect(stage)) == set(uploads)


class Forgetful(LocalStorage):
    """While the first file is copied, everything is deleted and collected."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.storage.scratch)
        self._stage = stage
        self.was_asked = False

    def read(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        if not self.was_asked:
            self.was_asked = True
            with self._stage.database.read() as session:
                uploads = session.scalars(select(File.sha256)).all()
            for each in uploads:
                self._stage.write(files.forget_upload, "default", each)
            assert collect(self._stage) == []
        return super().read(sha256, start, end)


def collect(stage: Stage) -> list[str]:
    gone: list[str] = stage.write(files.collect, untouched_since=1e12)
    stage.storage.delete(*gone)
    return gone


def test_a_backup_that_fails_leaves_the_one_before(sqlite_stage: Stage, folder: Path) -> None:
    sqlite_stage.upload(b"here")
    before = take(sqlite_stage, folder)
    lost = sqlite_stage.upload(b"lost")
    sqlite_stage.storage.delete(lost)
    with pytest.raises(Unavailable, match=f"File {lost} isn't in the storage.*upload:default"):
        take(sqlite_stage, folder)
    assert restore.read(folder) == before
    assert len(list((folder / "tables").iterdir())) == 1


def test_who_owns_a_file_that_the_storage_lost_is_named(sqlite_stage: Stage, folder: Path) -> None:
    dataset, teacher = sqlite_stage.dataset(), sqlite_stage.teacher()
    with sqlite_stage.database.read() as session:
        found = session.get_one(Dataset, dataset).files["train.npz"]["sha256"]
    sqlite_stage.storage.delete(found)
    with pytest.raises(Unavailable, match=dataset) as caught:
        take(sqlite_stage, folder)
    assert teacher not in str(caught.value)


def test_what_a_run_has_only_begun_to_store_is_no_reason_to_fail(
    sqlite_stage: Stage, folder: Path
) -> None:
    sqlite_stage.job()
    run = sqlite_stage.take().run.id
    with sqlite_stage.database.write() as session:
        files.note(session, "0" * 64, 5)
        files.use(session, "0" * 64, run, "content")
    take(sqlite_stage, folder)
    assert "0" * 64 not in files_in(folder)


def test_half_a_backup_is_no_backup(sqlite_stage: Stage, folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(Refused, match="no whole backup"):
        restore.read(folder)
    sqlite_stage.job()
    made = take(sqlite_stage, folder)
    (folder / made.tables["jobs"].path).write_bytes(b"something else")
    with pytest.raises(Refused, match="damaged"):
        restore.read(folder)


def test_a_damaged_file_is_refused_before_any_row_is_restored(
    sqlite_stage: Stage, folder: Path, database: Database, storage_elsewhere: Storage
) -> None:
    upload = sqlite_stage.upload(b"an upload")
    take(sqlite_stage, folder)
    backup.place(folder, upload).write_bytes(b"AN UPLOAD")
    with pytest.raises(Refused, match="damaged"):
        restore.restore(database, storage_elsewhere, folder)
    assert rows_of(database)["files"] == []


def test_a_backup_of_a_newer_version_is_refused(sqlite_stage: Stage, folder: Path) -> None:
    take(sqlite_stage, folder)
    manifest = json.loads((folder / "backup.json").read_text())
    (folder / "backup.json").write_text(json.dumps(manifest | {"revision": "9999"}))
    with pytest.raises(Refused, match="newer version"):
        restore.read(folder)


def test_without_files_a_backup_is_rows_alone(sqlite_stage: Stage, folder: Path) -> None:
    sqlite_stage.upload(b"large")
    assert take(sqlite_stage, folder, with_files=False).files is None
    assert files_in(folder) == set()


def test_a_database_without_tables_is_nothing_to_back_up(
    database_elsewhere: Database, storage: Storage, folder: Path
) -> None:
    with pytest.raises(Unavailable, match="nothing to back up"):
        backup.write(database_elsewhere, storage, folder, with_files=True)
    assert not (folder / "backup.json").exists()
