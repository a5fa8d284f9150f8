"""Leftovers: leases that ran out, uploads nobody named, files nobody needs. Safe to run twice."""

from __future__ import annotations

import logging
import shutil
import time

from core import files, idempotency, leases, workers
from core.db import Database
from core.settings import Settings
from core.storage import Storage

log = logging.getLogger(__name__)

GRACE_SECONDS = 600.0  # a file that is being published is not yet needed by anybody
STALE_SECONDS = 86_400.0  # longer than any upload or run leaves a scratch file untouched


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
    _clear_scratch(storage, now - STALE_SECONDS)
    return freed


def sweep(database: Database, storage: Storage) -> None:
    """Remove bytes that no book knows: a worker died between moving and recording them."""
    young = time.time() - STALE_SECONDS
    for folder in (storage.root / "files").iterdir():
        old = [item for item in folder.iterdir() if item.stat().st_mtime < young]
        with database.read() as session:
            known = files.known(session, [item.name for item in old])
        for item in old:
            if item.name not in known:
                item.unlink(missing_ok=True)
                log.info("file %s was in no book", item.name)


def _clear_scratch(storage: Storage, older_than: float) -> None:
    for folder in ("tmp", "work"):
        for item in (storage.root / folder).iterdir():
            if item.stat().st_mtime < older_than:
                if item.is_dir():
                    shutil.rmtree(item, ignore_errors=True)
                else:
                    item.unlink(missing_ok=True)
