import asyncio
import time
from pathlib import Path

from app.watch import Watcher
from core.db import Database
from core.tables import Job
from tests.stage import Stage


def waited(watcher: Watcher, job: str, *, version: int | None = None) -> float:
    async def wait() -> float:
        before = time.monotonic()
        await watcher.until(Job, job, changed_from=version, seconds=1.0)
        return time.monotonic() - before

    return asyncio.run(wait())


def test_a_version_that_was_read_later_than_the_last_look_is_waited_on(stage: Stage) -> None:
    job = stage.job()
    version = stage.get(Job, job).version
    watcher = Watcher(stage.database)

    async def walk() -> float:
        first = asyncio.create_task(watcher.until(Job, job, changed_from=version + 1, seconds=5))
        await asyncio.sleep(0.5)
        before = time.monotonic()
        await watcher.until(Job, job, changed_from=version + 1, seconds=1.0)
        first.cancel()
        return time.monotonic() - before

    assert asyncio.run(walk()) > 0.9


def test_a_job_that_is_over_is_not_waited_on(stage: Stage) -> None:
    job = stage.job()
    stage.cancel(job)
    assert waited(Watcher(stage.database), job) < 0.9


def test_what_is_gone_is_not_waited_on(stage: Stage) -> None:
    assert waited(Watcher(stage.database), "job_missing", version=3) < 0.9


def test_nothing_is_remembered_of_those_who_left(stage: Stage) -> None:
    watcher = Watcher(stage.database)
    waited(watcher, stage.job())
    assert (watcher._seen, dict(watcher._watched)) == ({}, {})


def test_a_database_that_is_away_ends_no_wait(stage: Stage, tmp_path: Path) -> None:
    job = stage.job()
    away = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    watcher = Watcher(away)

    async def walk() -> None:
        await watcher.until(Job, job, changed_from=None, seconds=0.5)
        assert watcher._task is not None
        assert not watcher._task.done()

    asyncio.run(walk())
    away.close()
