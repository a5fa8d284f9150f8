"""Leftovers: leases that ran out, uploads nobody named, files nobody needs. Safe to run twice."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from pathlib import Path

from core import files, idempotency, leases, runs, strays, workers
from core.db import Database
from core.settings import Settings
from core.storage import Storage
from core.storage.local import changed_at
from stillhouse.errors import Unavailable

log = logging.getLogger(__name__)

GRACE_SECONDS = 600.0  # a file that is being published is not yet needed by anybody
HOLD_SECONDS = 7 * 86_400.0  # no backup takes longer
STALE_SECONDS = 86_400.0  # longer than any upload leaves its file untouched


def run(database: Database, storage: Storage, settings: Settings) -> int:
    """Look once. Returns how many runs were freed."""
    now = time.time()
    with database.write() as session:
        freed = leases.expire(session)
        files.expire_uploads(session, now - settings.blob_retention_hours * 3600)
        files.expire_holds(session, now - HOLD_SECONDS)
        idempotency.forget_old(session)
        workers.forget_old(session)
    collect(database, storage)
    _clear_uploads(storage, now - STALE_SECONDS)
    _clear_work(database, storage)
    return freed


def collect(database: Database, storage: Storage) -> None:
    """Delete files that nobody needs. A storage that is away has them until a later round."""
    try:
        with database.write() as session:
            # The bytes go before the commit: who uploads them anew waits for this row's lock.
            gone = files.collect(session, untouched_since=time.time() - GRACE_SECONDS)
            storage.delete(*gone)
    except Unavailable as error:
        log.warning("files that nobody needs stay for now: %s", error.detail)
        return
    for sha256 in gone:
        log.info("file %s was needed by nobody", sha256)


def sweep(database: Database, storage: Storage) -> None:
    """Enter bytes that no book knows as needed by nobody; once a day on each host.

    Whoever wrote them died before recording them. What is listed is a day old, so that nothing
    on its way is meant, and stays another day, in which a wrong database may be noticed.
    """
    mark, now = storage.scratch / "swept", time.time()
    if mark.exists() and changed_at(mark) > now - STALE_SECONDS:
        return
    seen = strays.sample(database, storage)
    if seen.is_slight:
        log.warning("%s. %s", seen, strays.ADVICE)
        return
    strays.note(database, storage, before=now - STALE_SECONDS, until=now + STALE_SECONDS)
    mark.touch()


def _clear_uploads(storage: Storage, older_than: float) -> None:
    for item in _entries(storage.scratch / "tmp"):
        if changed_at(item) < older_than:
            item.unlink(missing_ok=True)


def _clear_work(database: Database, storage: Storage) -> None:
    """Remove the scratch of claims that are over; SQL says which are not, an age doesn't."""
    for run in _entries(storage.scratch / "work"):
        for fence in _entries(run):
            with database.read() as session:
                is_live = runs.is_live(session, run.name, fence.name)
            if not is_live:
                shutil.rmtree(fence, ignore_errors=True)
        with contextlib.suppress(OSError):
            run.rmdir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # its run has just ended, or none has begun here
        return []
