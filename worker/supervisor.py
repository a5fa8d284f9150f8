"""The supervisor: claims runs and keeps their leases. It holds the database; its children don't.

    look into SQL -> claim -> child works -> publish under the fence -> look again

One supervisor serves one device with one run at a time. It is woken by its own
clock, or by a hint through the broker; both only make it look.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import threading
import time
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError

from core import leases, runs, workers
from core.db import Database
from core.leases import Lease
from core.queue import Doorbell
from core.settings import Settings
from core.storage import Storage
from stillhouse import __version__
from worker import identity, reconcile
from worker.bench import Bench
from worker.intake_run import IntakeRun
from worker.trainer_process import Spare
from worker.trainer_run import TrainerRun

log = logging.getLogger(__name__)

AWAY_SECONDS = 1.0  # between two tries while the database is away


class Supervisor:
    """One device's worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.database)
        self._storage = Storage(settings.storage_root, min_free_bytes=settings.min_free_bytes)
        self._doorbell = Doorbell(settings.broker_url)
        # One core is left to the API, the database and this process: two trainer threads that
        # share two cores with them wait for each other most of the time.
        self._threads = settings.threads or max((os.cpu_count() or 1) - 1, 1)
        self._spare = Spare(threads=self._threads)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._identity = identity.take(settings)
        self._worker_id: str | None = None
        self._run_id: str | None = None

    def wake(self) -> None:
        """Look into SQL now."""
        self._wake.set()

    def stop(self) -> None:
        """Give the run back after a checkpoint, then end."""
        self._stopping.set()
        self._wake.set()

    def serve(self) -> None:
        """Work until `stop`."""
        self._spare.warm()
        self._clear_leftovers()
        self._enrol()
        threading.Thread(target=self._keep_house, name="housekeeping", daemon=True).start()
        log.info("worker %s serves %s", self._identity.name, socket.gethostname())
        try:
            while not self._stopping.is_set():
                if not self._look():
                    self._wake.wait(self._settings.poll)
                    self._wake.clear()
        finally:
            self._spare.close()
            self._leave()

    def _look(self) -> bool:
        """Claim and do one run; False if there was none, or the database is away."""
        try:
            lease = self._take()
        except DBAPIError as error:
            log.warning("the database is away: %s", error.orig)
            self._stopping.wait(AWAY_SECONDS)
            return False
        if lease is None:
            return False
        try:
            self._work(lease)
        except OperationalError as error:
            # The lease runs out by itself; whoever is there then goes on.
            log.warning("run %s was left: the database is away: %s", lease.run.id, error.orig)
        except Exception:
            # A defect of ours must cost this run, not the worker; five times, and the run fails.
            log.exception("run %s ended in an error of the supervisor", lease.run.id)
            self._lose(lease)
        finally:
            self._run_id = None
        return True

    def _take(self) -> Lease | None:
        self._note_device()
        with self._database.read() as session:
            if not runs.anything_to_do(session, self._devices):
                return None
        with self._database.write() as session:
            leases.expire(session)
            return leases.take(
                session,
                worker=self._worker_id or "",
                device=self._device,
                devices=self._devices,
                lease_seconds=self._settings.lease_seconds,
            )

    def _work(self, lease: Lease) -> None:
        run = lease.run
        self._run_id = run.id
        log.info("run %s (%s) claimed under fence %d", run.id, run.kind, lease.fence)
        work = self._storage.root / "work" / run.id / str(lease.fence)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        bench = Bench(
            lease=lease,
            database=self._database,
            storage=self._storage,
            settings=self._settings,
            stopping=self._stopping,
            work=work,
        )
        try:
            if run.kind == "intake":
                IntakeRun(bench).work()
            else:
                TrainerRun(bench, self._spare, device=self._device, threads=self._threads).work()
        finally:
            shutil.rmtree(work.parent, ignore_errors=True)
        self._ring_for_others()

    def _lose(self, lease: Lease) -> None:
        with contextlib.suppress(DBAPIError), self._database.write() as session:
            leases.lose(session, lease, reason="The supervisor met an unexpected error.")

    def _ring_for_others(self) -> None:
        if self._settings.broker_url is None:
            return
        with self._database.read() as session:
            self._doorbell.ring(runs.waiting(session, self._devices, at_most=16))

    @property
    def _device(self) -> str:
        ready = self._spare.peek_ready()
        found = ready.get("extra", {}).get("device", "cpu") if ready else "cpu"
        return "cpu" if self._settings.device == "cpu" else str(found)

    @property
    def _devices(self) -> tuple[str, ...]:
        return (self._device,)

    def _note_device(self) -> None:
        """Publish what the first warm trainer says of itself."""
        ready = self._spare.news()
        if ready is None:
            return
        extra = ready.get("extra", {})
        with self._database.write() as session:
            workers.describe(
                session,
                self._worker_id or "",
                device=str(extra.get("device_name", "cpu")),
                memory_bytes=int(extra.get("memory_bytes", 0)),
            )
            workers.publish_networks(session, map(tuple, extra.get("networks", [])))

    def _enrol(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._database.write() as session:
                    worker = workers.enrol(
                        session,
                        name=self._identity.name,
                        device="cpu",
                        memory_bytes=0,
                        software=__version__,
                    )
                    self._worker_id = worker.id
                    # This name is locked on this machine: whoever held it before is gone.
                    leases.expire(session, worker=worker.id)
            except DBAPIError as error:
                log.warning("the database is away or not migrated: %s", error.orig)
                self._stopping.wait(AWAY_SECONDS)
            else:
                return

    def _leave(self) -> None:
        if self._worker_id is not None:
            try:
                with self._database.write() as session:
                    workers.leave(session, self._worker_id)
            except DBAPIError as error:
                log.warning("could not sign off: %s", error.orig)
        self._database.close()

    def _keep_house(self) -> None:
        """Say that this worker lives, and look for leftovers."""
        next_reconcile = 0.0
        while not self._stopping.wait(min(self._settings.heartbeat_seconds, 5.0)):
            try:
                with self._database.write() as session:
                    status = "busy" if self._run_id else "ready"
                    workers.seen(session, self._worker_id or "", status=status, run=self._run_id)
                if next_reconcile == 0.0 and self._identity.is_only_worker:
                    reconcile.sweep(self._database, self._storage)
                if time.monotonic() >= next_reconcile:
                    next_reconcile = time.monotonic() + self._settings.reconcile_seconds
                    if reconcile.run(self._database, self._storage, self._settings):
                        self._wake.set()
            except DBAPIError as error:
                log.warning("the database is away: %s", error.orig)

    def _clear_leftovers(self) -> None:
        for folder in _folders(self._storage.root / "work"):
            if self._identity.is_only_worker:
                shutil.rmtree(folder, ignore_errors=True)


def _folders(root: Path) -> list[Path]:
    return [item for item in root.iterdir() if item.is_dir()]
