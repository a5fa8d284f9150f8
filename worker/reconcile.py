"""Leftovers: leases that ran out, uploads nobody named, files nobody needs. Safe to run twice."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import time
from pathlib import Path

from core import files, idempotency, leases, runs, workers
from core.db import Database
from core.settings import Settings
from core.storage import Storage

log = logging.getLogger(__name__)

GRACE_SECONDS = 600.0  # a file that is being published is not yet needed by anybody
STALE_SECONDS = 86_400.0  # longer than any upload leaves its file untouched


def run(database: Database, storage: Storage, settings: Settings) -> int:
    """Look once. Returns how many runs were freed."""
    now = time.time()
    with database.write() as session:
        freed = leases.expire(session)
        files.expire_uploads(session, now - settings.blob_retention_hours * 3600)
        idempotency.forget_old(session)
        workers.forget_old(session)
    with database.write() as session:
        # The bytes go before the commit: whoever uploads them anew waits for this row's lock.
        for sha256 in files.collect(session, untouched_since=now - GRACE_SECONDS):
            storage.delete(sha256)
            log.info("file %s was needed by nobody", sha256)
    _clear_uploads(storage, now - STALE_SECONDS)
    _clear_work(database, storage)
    return freed


def sweep(database: Database, storage: Storage) -> None:
    """Remove bytes that no book knows: a worker died between moving and recording them."""
    young = time.time() - STALE_SECONDS
    for folder in (storage.root / "files").iterdir():
        old = [item for item in folder.iterdir() if _age(item) < young]
        with database.read() as session:
            known = files.known(session, [item.name for item in old])
        for item in old:
            if item.name not in known:
                item.unlink(missing_ok=True)
                log.info("file %s was in no book", item.name)


def _clear_uploads(storage: Storage, older_than: float) -> None:
    for item in (storage.root / "tmp").iterdir():
        if _age(item) < older_than:
            item.unlink(missing_ok=True)


def _clear_work(database: Database, storage: Storage) -> None:
    """Remove the scratch of claims that are over; SQL says which are not, an age doesn't."""
    for run in (storage.root / "work").iterdir():
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
    except OSError:  # its run has just ended
        return []


def _age(item: Path) -> float:
    """When it was last changed; what is gone meanwhile is as young as can be."""
    try:
        return item.stat().st_mtime
    except FileNotFoundError:
        return math.inf
