"""Leftovers go, and nothing that a claim still holds goes with them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from core import files
from core.db import Database
from core.settings import Settings
from core.storage import open_storage
from core.tables import File
from stillhouse.errors import InputRejected, PathNotAllowed
from tests.stage import Stage
from worker import assignments, intake_assignments, reconcile
from worker.inputs import Inputs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data" / "imports").mkdir(parents=True)
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def stage(migrated_sqlite: Path, tmp_path: Path, settings: Settings) -> Iterator[Stage]:
    shutil.copy(migrated_sqlite, tmp_path / "one.db")
    database = Database(f"sqlite:///{tmp_path / 'one.db'}")
    yield Stage(database, open_storage(settings))
    database.close()


def test_the_scratch_of_a_live_claim_stays_however_old_it_is(
    stage: Stage, settings: Settings
) -> None:
    stage.job()
    lease = stage.take()
    work = stage.storage.scratch / "work" / lease.run.id
    live, fenced_out = work / str(lease.fence), work / str(lease.fence - 1)
    for folder in (live, fenced_out):
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_bytes(b"1")
        os.utime(folder, (0, 0))
    os.utime(work, (0, 0))
    reconcile.run(stage.database, stage.storage, settings)
    assert live.is_dir()
    assert not fenced_out.exists()
    stage.end_well(lease)
    reconcile.run(stage.database, stage.storage, settings)
    assert not work.exists()


def test_what_ends_while_it_is_looked_at_stops_no_housekeeping(
    stage: Stage, settings: Settings
) -> None:
    gone = stage.storage.scratch / "tmp" / "half an upload"
    # Its stat fails, as that of a file that has gone since.
    gone.symlink_to(stage.storage.scratch / "nowhere")
    reconcile.run(stage.database, stage.storage, settings)


def test_bytes_that_no_book_knows_are_swept_and_known_ones_stay(stage: Stage) -> None:
    known = stage.upload(b"known")
    stray = stage.put(b"stray")["sha256"]
    day_before_yesterday = time.time() - 2 * 86_400
    for sha256 in (known, stray):
        os.utime(
            stage.storage.place(sha256, stage.storage.scratch),
            (day_before_yesterday, day_before_yesterday),
        )
    reconcile.sweep(stage.database, stage.storage)
    reconcile.collect(stage.database, stage.storage)
    assert stage.storage.has(stray), "a stray has a day in the books"
    a_day_passes(stage)
    reconcile.collect(stage.database, stage.storage)
    assert stage.storage.has(known)
    assert not stage.storage.has(stray)
    assert stage.get(File, known)


def a_day_passes(stage: Stage) -> None:
    with stage.database.write() as session:
        session.execute(update(File).values(touched_at=File.touched_at - 90_000.0))


def test_strays_are_looked_for_once_a_day(stage: Stage) -> None:
    stage.upload(b"known")
    reconcile.sweep(stage.database, stage.storage)
    stray = stage.put(b"stray")["sha256"]
    os.utime(stage.storage.place(stray, stage.storage.scratch), (0, 0))
    reconcile.sweep(stage.database, stage.storage)
    assert not is_known(stage, stray)
    os.utime(stage.storage.scratch / "swept", (0, 0))
    reconcile.sweep(stage.database, stage.storage)
    assert is_known(stage, stray)


def is_known(stage: Stage, sha256: str) -> bool:
    with stage.database.read() as session:
        return files.known(session, [sha256]) == {sha256}


def test_files_of_another_database_are_left_alone(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = [stage.put(bytes([number]))["sha256"] for number in range(5)]
    for sha256 in theirs:
        os.utime(stage.storage.place(sha256, stage.storage.scratch), (0, 0))
    stage.upload(b"ours")
    reconcile.sweep(stage.database, stage.storage)
    assert not [sha256 for sha256 in theirs if is_known(stage, sha256)]
    assert "1 of 6 files" in caplog.text
    assert "STILLHOUSE_DATABASE_URL" in caplog.text
    assert not (stage.storage.scratch / "swept").exists(), "it looks again when this is mended"


def test_what_else_lies_in_the_folder_stops_no_sweep(stage: Stage) -> None:
    file = stage.upload(b"known")
    odd = stage.storage.place(file, stage.storage.scratch).with_name(".nfs0001")
    odd.touch()
    os.utime(odd, (0, 0))
    reconcile.sweep(stage.database, stage.storage)
    assert not is_known(stage, odd.name)
    assert odd.exists()


def test_a_link_in_a_folder_leads_no_further_than_the_roots(
    stage: Stage, settings: Settings, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    folder = settings.roots[0] / "hub"
    folder.mkdir()
    (folder / "config.json").symlink_to(secret)
    stage.validating_teacher(network=None, weights={"uri": folder.as_uri()})
    lease = stage.take()
    inputs = Inputs(stage.storage, tmp_path)
    with stage.database.read() as session, pytest.raises(PathNotAllowed):
        intake_assignments.for_intake(session, lease.run, inputs, settings, tmp_path)


def test_a_file_that_the_storage_lost_is_named_before_a_trainer_starts(
    stage: Stage, settings: Settings, tmp_path: Path
) -> None:
    job = stage.job()
    lease = stage.take()
    assert lease.run.job == job
    for path in (stage.storage.scratch / "files").rglob("*"):
        if path.is_file():
            path.unlink()
    inputs = Inputs(stage.storage, tmp_path)
    with stage.database.read() as session:
        assignments.for_trainer(
            session, lease.run, inputs, settings, work=tmp_path, device="cpu", threads=1
        )
    with pytest.raises(InputRejected) as caught:
        inputs.bring()
    assert caught.value.rejected_code == "file_missing"
