"""The supervisor: claims runs and keeps their leases. It holds the database; its children don't.

One supervisor serves one device with one run at a time, and takes uploads in beside it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

from sqlalchemy.exc import DBAPIError

from core import leases, workers
from core.db import Database
from core.queue import Doorbell
from core.settings import Settings
from core.storage import open_storage
from stillhouse import __version__
from stillhouse.errors import Unavailable
from worker import devices, identity, metrics, reconcile
from worker.bench import Bench
from worker.intake_run import IntakeRun
from worker.lane import AWAY_SECONDS, Lane, Workplace
from worker.trainer_process import Spare
from worker.trainer_run import TrainerRun

log = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0  # between two looks whether a day has passed
SEEN_SECONDS = 5.0  # a worker says at least this often that it lives


class Supervisor:
    """One device's worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._place = Workplace(
            settings=settings,
            database=Database(settings.database),
            storage=open_storage(settings),
            doorbell=Doorbell(settings.broker_url),
            stopping=threading.Event(),
        )
        # One core is left to the API, the database and this process: two trainer threads that
        # share two cores with them wait for each other most of the time.
        self._threads = settings.threads or max((os.cpu_count() or 1) - 1, 1)
        self._identity = identity.take(settings)
        self._seat = devices.take(
            settings.device, devices.visible(), identity.lock_folder(settings)
        )
        self._spare = Spare(threads=self._threads, visible=self._seat.visible, on_ready=self.wake)
        self._worker_id = ""
        self._training = Lane(
            self._place, worker=self._id, kinds=self._device_kinds, work=self._train
        )
        self._intake = Lane(self._place, worker=self._id, kinds=lambda: ("host",), work=_take_in)

    def wake(self) -> None:
        """Look into SQL now."""
        self._training.wake()
        self._intake.wake()

    def stop(self) -> None:
        """Give the runs back, training after a checkpoint, then end."""
        self._place.stopping.set()
        self.wake()

    def serve(self) -> None:
        """Work until `stop`."""
        metrics.serve(self._settings)
        self._spare.is_ready()
        self._enrol()
        threading.Thread(target=self._keep_house, name="housekeeping", daemon=True).start()
        if self._identity.is_only_worker:
            threading.Thread(target=self._sweep, name="sweeping", daemon=True).start()
        taking_in = threading.Thread(target=self._intake.serve, name="intake")
        taking_in.start()
        log.info("worker %s serves %s", self._identity.name, socket.gethostname())
        try:
            self._training.serve()
        finally:
            self.stop()
            taking_in.join()
            self._spare.close()
            self._leave()
            self._place.doorbell.close()

    def _id(self) -> str:
        return self._worker_id

    def _train(self, bench: Bench) -> None:
        TrainerRun(bench, self._spare, device=self._device, threads=self._threads).work()

    @property
    def _device(self) -> str:
        """Its kind: cpu or cuda, as the trainer found it.

        Raises `Unavailable` if a GPU is wanted and PyTorch has none.
        """
        found = str(self._spare.facts.get("device", "cpu"))
        if self._settings.device == "cuda" and found == "cpu":
            raise Unavailable(
                "STILLHOUSE_DEVICE is cuda and PyTorch finds no GPU: is it a build without CUDA, "
                "or is the driver too old for it?"
            )
        return found

    def _device_kinds(self) -> tuple[str, ...]:
        """What the device may be given: nothing until a trainer has started on it."""
        return ("auto", self._device) if self._spare.is_ready() else ()

    def _enrol(self) -> None:
        while not self._place.stopping.is_set():
            try:
                with self._place.database.write() as session:
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
                self._place.stopping.wait(AWAY_SECONDS)
            else:
                return

    def _leave(self) -> None:
        try:
            with self._place.database.write() as session:
                workers.leave(session, self._worker_id)
        except DBAPIError as error:
            log.warning("could not sign off: %s", error.orig)
        self._place.database.close()

    def _keep_house(self) -> None:
        """Say that this worker lives and what it can do, and look for leftovers."""
        next_reconcile, is_described = 0.0, False
        while True:
            try:
                is_described = self._say_alive(is_described=is_described)
                if time.monotonic() >= next_reconcile:
                    next_reconcile = time.monotonic() + self._settings.reconcile_seconds
                    if reconcile.run(self._place.database, self._place.storage, self._settings):
                        self.wake()
            except DBAPIError as error:
                log.warning("the database is away: %s", error.orig)
            except Exception:
                # Whatever it was, a worker that no longer says that it lives would be worse.
                log.exception("a round of housekeeping failed")
            self._touch()
            pause = min(self._settings.heartbeat_seconds, SEEN_SECONDS)
            if self._place.stopping.wait(pause if is_described else 0.25):
                return

    def _touch(self) -> None:
        """Renew the file that a health check looks at, if there is one."""
        try:
            if self._settings.alive_file is not None:
                self._settings.alive_file.touch()
        except OSError as error:
            log.warning("the alive file can't be touched: %s", error)

    def _sweep(self) -> None:
        """Look for bytes that no book knows, in a thread of its own: a bucket's list is long."""
        while True:
            try:
                reconcile.sweep(self._place.database, self._place.storage)
            except (DBAPIError, Unavailable, OSError) as error:
                log.warning("strays are looked for later: %s", error)
            if self._place.stopping.wait(SWEEP_SECONDS):
                return

    def _say_alive(self, *, is_described: bool) -> bool:
        """A worker whose trainer doesn't start is not seen: it could do no job."""
        facts, run_id = self._spare.facts, self._training.run_id
        if not facts:
            return False
        with self._place.database.write() as session:
            status = "busy" if run_id else "ready"
            workers.seen(session, self._worker_id, status=status, run=run_id)
            if not is_described:
                workers.describe(
                    session,
                    self._worker_id,
                    kind=str(facts.get("device", "cpu")),
                    device=str(facts.get("device_name", "cpu")),
                    memory_bytes=int(facts.get("memory_bytes", 0)),
                )
                workers.publish_networks(session, map(tuple, facts.get("networks", [])))
        return True


def _take_in(bench: Bench) -> None:
    IntakeRun(bench).work()
