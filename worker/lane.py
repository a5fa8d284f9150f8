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

from core import leases, line, logs, runs
from core.db import Database
from core.leases import Lease
from core.queue import Doorbell
from core.settings import Settings
from core.storage import Storage
from stillhouse.errors import StillhouseError
from worker import disk, metrics
from worker.bench import Bench, Interrupted, LeaseNotProvable

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
        run = self.run_id = lease.run.id
        named = logs.bound(job=lease.run.job, run=run, attempt=lease.run.attempts)
        with named, metrics.at_work(lease.run):
            self._attend(lease)
        return True

    def _attend(self, lease: Lease) -> None:
        """Do a run, whatever happens."""
        try:
            self._work(lease)
        except disk.WAITED_FOR as error:
            self._wait_for_storage(lease, error)
        except LeaseNotProvable:
            # Whoever is there when it has run out goes on.
            log.warning("run %s was left: its lease can't be proved", lease.run.id)
        except Exception:
            # A defect of ours must cost this run, not the worker; five times, and the run fails.
            log.exception("run %s ended in an error of the supervisor", lease.run.id)
            self._lose(lease)
        finally:
            self.run_id = None

    def _take(self) -> Lease | None:
        kinds = self._kinds()
        with self._place.database.read() as session:
            if not kinds or not runs.anything_to_do(session, kinds):
                return None
        with self._place.database.write() as session:
            leases.expire(session)
        with self._place.database.write() as session:  # a claim must hold no lock while it waits
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
        folder = place.storage.scratch / "work" / run.id / str(lease.fence)
        shutil.rmtree(folder, ignore_errors=True)
        bench = Bench(
            lease=lease,
            database=place.database,
            storage=place.storage,
            settings=place.settings,
            stopping=place.stopping,
            folder=folder,
        )
        try:
            for needed in (bench.work, bench.inputs):
                needed.mkdir(parents=True)
            self._do(bench)
        except Interrupted as interrupted:
            bench.obey(interrupted.order)
        finally:
            # Only this fence's folder: the run may have a new owner by now.
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
        self._ring_for_others()

    def _wait_for_storage(self, lease: Lease, error: StillhouseError) -> None:
        log.warning("run %s goes back to the queue: %s", lease.run.id, error.detail)
        reason = disk.reason(error.code, error.detail)
        with contextlib.suppress(DBAPIError), self._place.database.write() as session:
            leases.give_back(session, lease, reason=reason, delay_seconds=disk.WAIT_SECONDS)

    def _lose(self, lease: Lease) -> None:
        with contextlib.suppress(DBAPIError), self._place.database.write() as session:
            leases.lose(session, lease, reason="The supervisor met an unexpected error.")

    def _ring_for_others(self) -> None:
        """A run that ended may have let others begin: as many workers may look."""
        if self._place.settings.broker_url is None:
            return
        with self._place.database.read() as session:
            waits = runs.anything_to_do(session, line.EVERY)
        if waits:
            self._place.doorbell.ring()
