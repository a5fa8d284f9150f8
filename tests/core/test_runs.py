import time

from sqlalchemy import select

from core import files, runs
from core.tables import Checkpoint, File
from tests.stage import Stage


def test_a_checkpoint_row_outlives_two_later_ones_only(stage: Stage) -> None:
    stage.job()
    stage.end_well(stage.take())
    lease = stage.take()
    for step in (10, 20, 30):
        stage.checkpoint(lease, step, f"state {step}".encode())
    with stage.database.read() as session:
        assert [row.step for row in runs.checkpoints(session, lease.run.id)] == [30, 20]


def test_a_finished_run_leaves_no_checkpoint(stage: Stage) -> None:
    stage.job()
    stage.end_well(stage.take())
    lease = stage.take()
    sha256 = stage.checkpoint(lease, 10, b"state")
    assert stage.end_well(lease) == [sha256]
    with stage.database.read() as session:
        assert session.scalars(select(Checkpoint)).all() == []
    young = time.time() - 3600
    assert stage.write(files.collect, untouched_since=young) == [sha256]  # however young it is


def test_a_checkpoint_that_another_run_shares_stays(stage: Stage) -> None:
    stage.job()
    stage.end_well(stage.take())
    first, second = stage.take(), stage.take()
    sha256 = stage.checkpoint(first, 10, b"the same state")
    stage.checkpoint(second, 10, b"the same state")
    assert stage.end_well(first) == []
    with stage.database.read() as session:
        assert session.get(File, sha256) is not None
    assert stage.end_well(second) == [sha256]
