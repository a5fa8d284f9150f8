"""A full disk is recognised in whatever words it comes, and a run waits for room."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from core import leases
from core.db import Database
from core.storage import LocalStorage
from core.tables import Run
from tests.stage import Stage
from worker import disk


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # safetensors' words
    ],
)
def test_a_full_disk_is_recognised(error: Exception) -> None:
    assert disk.is_full(error)
    wrapped = ValueError("could not write")
    wrapped.__cause__ = error
    assert disk.is_full(wrapped)


def test_other_errors_are_none() -> None:
    assert not disk.is_full(OSError(errno.EACCES, "Permission denied"))
    assert not disk.is_full(ValueError("28"))


def test_a_run_that_waits_for_room_is_claimed_by_nobody_meanwhile(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    shutil.copy(migrated_sqlite, tmp_path / "one.db")
    database = Database(f"sqlite:///{tmp_path / 'one.db'}")
    stage = Stage(database, LocalStorage(tmp_path / "storage"))
    stage.validating_dataset()
    lease = stage.take()
    with database.write() as session:
        leases.give_back(session, lease, reason=disk.DETAIL, delay_seconds=disk.WAIT_SECONDS)
    assert stage.look() is None
    waiting = stage.get(Run, lease.run.id)
    assert (waiting.status, waiting.losses) == ("queued", 0)
    database.close()
