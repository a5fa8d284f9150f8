"""A lane: one run after another of the kinds that it takes.

A worker has two: one for its device, one for intake, so that an upload is looked at while
a job trains. Each is woken by its own clock or by a hint; both only make it look.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from core import leases, runs
from core.db import Database
from core.leases import Lease
from core.queue import Doorbell
from core.settings import Settings
from core.storage import Storage
from stillhouse.errors import StorageFull
from worker import disk
from worker.bench import Bench, LeaseNotProvable

log = logging.getLogger(__name__)

AWAY_SECONDS = 1.0  # between two tries while the database is away


@dataclass(frozen=True, slots=True)
class Workplace:
    """What the lanes of a worker share."""

    settings: Settings
    database: Database
    storage: Storage
    doorbell: Doorbell
    stopping: threading.Event


class Lane:
    """One thread's loop: look into SQL, claim, work, look again.

    Args:
        place: what the lanes share.
        worker: gives the worker's id; it is known only after enrolment.
        kinds: gives the device kinds that it takes now; the last one is named on the run.
        work: does a claimed run and writes how it ended.
    """

    def __init__(
        self,
        place: Workplace,
        *,
        worker: Callable[[], str],
        kinds: Callable[[], tuple[str, ...]],
        work: Callable[[Bench], None],
    ) -> None:
        self._place = place
        self._worker = worker
        self._kinds = kinds
        self._do = work
        self._wake = threading.Event()
        self.run_id: str | None = None
        """The run at work."""

    def wake(self) -> None:
        """Look into SQL now."""
        self._wake.set()

    def serve(self) -> None:
        """Work until the worker stops."""
        while not self._place.stopping.is_set():
            if not self._look():
                self._wake.wait(self._place.settings.poll)
                self._wake.clear()

    def _look(self) -> bool:
        """Claim and do one run; False if there was none, or the database is away."""
        try:
            lease = self._take()
        except DBAPIError as error:
            log.warning("the database is away: %s", error.orig)
            self._place.stopping.wait(AWAY_SECONDS)
            return False
        if lease is None:
            return False
        self.run_id = lease.run.id
        try:
            self._work(lease)
        except StorageFull:
            self._wait_for_room(lease)
        except LeaseNotProvable:
            # Whoever is there when it has run out goes on.
            log.warning("run %s was left: its lease can't be proved", lease.run.id)
        except Exception:
            # A defect of ours must cost this run, not the worker; five times, and the run fails.
            log.exception("run %s ended in an error of the supervisor", lease.run.id)
            self._lose(lease)
        finally:
            self.run_id = None
        return True

    def _take(self) -> Lease | None:
        kinds = self._kinds()
        with self._place.database.read() as session:
            if not kinds or not runs.anything_to_do(session, kinds):
                return None
        with self._place.database.write() as session:
            leases.expire(session)
            return leases.take(
                session,
                worker=self._worker(),
                device=kinds[-1],
                devices=kinds,
                lease_seconds=self._place.settings.lease_seconds,
            )

    def _work(self, lease: Lease) -> None:
        run, place = lease.run, self._place
        log.info("run %s (%s) claimed under fence %d", run.id, run.kind, lease.fence)
        work = place.storage.root / "work" / run.id / str(lease.fence)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        bench = Bench(
            lease=lease,
            database=place.database,
            storage=place.storage,
            settings=place.settings,
            stopping=place.stopping,
            work=work,
        )
        try:
            self._do(bench)
        finally:
            # Only this fence's folder: the run may have a new owner by now.
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):
                work.parent.rmdir()
        self._ring_for_others()

    def _wait_for_room(self, lease: Lease) -> None:
        log.warning("run %s goes back to the queue: the disk is full", lease.run.id)
        with contextlib.suppress(DBAPIError), self._place.database.write() as session:
            leases.give_back(session, lease, reason=disk.DETAIL, delay_seconds=disk.WAIT_SECONDS)

    def _lose(self, lease: Lease) -> None:
        with contextlib.suppress(DBAPIError), self._place.database.write() as session:
            leases.lose(session, lease, reason="The supervisor met an unexpected error.")

    def _ring_for_others(self) -> None:
        """A run that ended may have let others begin: as many workers may look."""
        if self._place.settings.broker_url is None:
            return
        with self._place.database.read() as session:
            waiting = runs.waiting(session, ("host", "auto", "cpu", "cuda"), at_most=16)
        self._place.doorbell.ring(waiting)
