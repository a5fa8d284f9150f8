"""What a run's work stands on: its lease, the database, the storage; and how it ends."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import events, leases, runs
from core import files as books
from core import storage as storage_module
from core.db import Database, trouble
from core.leases import Lease, Order
from core.runs import Progress
from core.settings import Settings
from core.storage import Storage
from worker import disk, errands, metrics
from worker.protocol import File

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 0.5
LOOK_SECONDS = 0.2  # a stop is seen this soon
STOP_SECONDS = 50.0  # a worker that is stopped still writes down what is done


class Interrupted(Exception):
    """The run must end before it is done; `order` says why."""

    def __init__(self, order: Order | Literal["stop"]) -> None:
        super().__init__(order)
        self.order = order


class LeaseNotProvable(Exception):
    """The lease may have run out meanwhile: nothing more may be done in its name."""


@dataclass(slots=True)
class Bench:
    """One claimed run and all that its work needs."""

    lease: Lease
    database: Database
    storage: Storage
    settings: Settings
    stopping: threading.Event
    folder: Path
    """This claim's scratch; nobody else's."""
    _trusted_until: float = field(init=False)

    def __post_init__(self) -> None:
        self._trust_from(time.monotonic())

    @property
    def work(self) -> Path:
        """Where its child may write."""
        return self.folder / "work"

    @property
    def inputs(self) -> Path:
        """Where its child may only read."""
        return self.folder / "inputs"

    @property
    def beat_seconds(self) -> float:
        """Between two heartbeats."""
        return min(self.settings.heartbeat_seconds, self.lease.lease_seconds / 4)

    def beat(
        self, progress: Progress | None, also: Callable[[Session], None] | None = None
    ) -> Order:
        """Renew the lease; a database that is away is tolerated while the lease is provable.

        Args:
            progress: where the run stands.
            also: what else to write in the same transaction, if the lease holds.

        Returns:
            What to do.

        Raises:
            LeaseNotProvable: when no heartbeat was accepted for too long.
        """
        sent = time.monotonic()
        try:
            with self.database.write() as session:
                order = leases.beat(session, self.lease, progress)
                if order == "continue" and also is not None:
                    also(session)
        except DBAPIError as error:
            metrics.not_beaten()
            log.warning("run %s: no heartbeat: %s", self.lease.run.id, error.orig)
            if time.monotonic() > self._trusted_until:
                raise LeaseNotProvable from error
            return "continue"
        # Trust runs from when the beat was sent: its answer may have been long on the way.
        self._trust_from(sent)
        metrics.beaten(self.lease.run.id)
        return order

    def write(self, work: Callable[[Session], T]) -> T:
        """Write in the lease's name, again and again while the database is away.

        Raises `LeaseNotProvable` when the lease may have run out meanwhile.
        """
        while True:
            try:
                with self.database.write() as session:
                    return work(session)
            except DBAPIError as error:
                if trouble(error) == "ours":
                    raise
                if time.monotonic() > self._trusted_until:
                    raise LeaseNotProvable from error
                log.warning("run %s: trying again: %s", self.lease.run.id, error.orig)
                self.stopping.wait(RETRY_SECONDS)

    def finish(self, result: dict[str, Any], files: list[File], *, verify: bool = False) -> None:
        """Publish files and end the run well, in one transaction.

        Args:
            result: what the child found.
            files: what it made.
            verify: hash them here; the child's word is not enough (it read a user's bytes).
        """
        adopting = errands.start(
            lambda: [self.adopt(file, verify=verify) for file in files], name="publishing"
        )
        listed = self.follow(adopting, patience_seconds=STOP_SECONDS)
        self._note_end(
            "succeeded", self.write(lambda s: leases.succeed(s, self.lease, result, listed))
        )
        log.info("run %s succeeded", self.lease.run.id)

    def fail(self, error: dict[str, Any]) -> None:
        """End the run badly; a storage that is full or away is waited for instead."""
        code, detail = error.get("code"), str(error.get("detail"))
        if disk.passes(code):
            self.give_back(disk.reason(code, detail), delay_seconds=disk.WAIT_SECONDS)
            return
        log.info("run %s failed: %s", self.lease.run.id, error)
        self._note_end("failed", self.write(lambda s: leases.fail(s, self.lease, error)))

    def cancel(self) -> None:
        """End the run, since its job is over."""
        self._note_end("cancelled", self.write(lambda s: leases.cancel(s, self.lease)))

    def give_back(self, reason: str, *, delay_seconds: float = 0.0) -> None:
        """Requeue the run: it was interrupted, and not by a fault of its own."""
        log.info("run %s goes back to the queue: %s", self.lease.run.id, reason)
        self.write(
            lambda s: leases.give_back(s, self.lease, reason=reason, delay_seconds=delay_seconds)
        )
        metrics.ended(self.lease.run.id, "returned")

    def lose(self, reason: str) -> None:
        """Requeue the run: its child died."""
        log.warning("run %s was lost: %s", self.lease.run.id, reason)
        self.write(lambda s: leases.lose(s, self.lease, reason=reason))
        metrics.ended(self.lease.run.id, "lost")

    def obey(self, order: Order | Literal["stop"]) -> None:
        """End the run as it was ordered to."""
        match order:
            case "cancel":
                self.cancel()
            case "deadline":
                detail = "The job took longer than its limits.seconds; give it more, or less to do."
                error = {"code": "time_limit", "detail": detail, "field": "limits.seconds"}
                self.fail(error)
            case "stop":
                self.give_back("The worker was stopped.")
            case _:
                log.warning("run %s belongs to somebody else now", self.lease.run.id)

    def beside(self, work: Callable[[], T]) -> T:
        """Do what may take long while the lease is kept; raises what `work` and `follow` do."""
        return self.follow(errands.start(work, name="beside"))

    def follow(self, errand: Future[T], *, patience_seconds: float = 0.0) -> T:
        """Keep the lease until an errand is done.

        Args:
            errand: what is waited for.
            patience_seconds: how long after a stop it still is.

        Returns:
            What it returned.

        Raises:
            Interrupted: if the run must end before. The errand goes on, and nobody asks for it.
        """
        beat_at, stop_at = time.monotonic() + self.beat_seconds, math.inf
        while not futures.wait([errand], timeout=LOOK_SECONDS).done:
            now = time.monotonic()
            if self.stopping.is_set():
                stop_at = min(stop_at, now + patience_seconds)
            if now >= stop_at:
                raise Interrupted("stop")
            if now >= beat_at:
                order = self.beat(None)
                if order != "continue":
                    raise Interrupted(order)
                beat_at = time.monotonic() + self.beat_seconds
        return errand.result()

    def adopt(self, file: File, *, verify: bool = False) -> dict[str, Any]:
        """Move a child's file into the storage.

        It's written down as needed before its bytes are there: nobody may collect it meanwhile.

        Raises `ValueError` if it lies outside the work folder or isn't what the child says.
        """
        path = Path(file["file"])
        if not path.resolve().is_relative_to(self.work.resolve()) or path.is_symlink():
            message = f"{path} lies outside the run's folder"
            raise ValueError(message)
        sha256, size = file["sha256"], file["bytes"]
        if verify:
            with path.open("rb") as opened:
                os.fsync(opened.fileno())
            if (sha256, size) != storage_module.digest(path):
                message = f"{file['path']} is not what the child said"
                raise ValueError(message)
        self.write(lambda s: self._need(s, sha256, size))
        self.storage.adopt(path, sha256)
        return {"path": file["path"], "sha256": sha256, "bytes": size}

    def note(
        self, code: str, detail: str, *, level: Literal["info", "warn", "error"] = "info",
        data: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Say in the job's events what happened to the run."""

        def write(session: Session) -> None:
            run = runs.held(session, self.lease.run.id, self.lease.fence)
            if run is not None:
                events.add(session, run.job, code, detail, level=level, run=run.id, data=data or {})

        self.write(write)

    def _need(self, session: Session, sha256: str, size: int) -> None:
        run = self.lease.run.id
        if runs.held(session, run, self.lease.fence) is None:
            raise LeaseNotProvable
        books.note(session, sha256, size)
        books.use(session, sha256, run, "content")

    def _note_end(self, outcome: str, ended: object) -> None:
        if ended is None:
            log.warning("run %s belongs to somebody else now", self.lease.run.id)
            return
        metrics.ended(self.lease.run.id, outcome)

    def _trust_from(self, moment: float) -> None:
        # Ten seconds before the lease ends (a sixth of a short one): time to kill the child.
        lease = self.lease.lease_seconds
        self._trusted_until = moment + lease - min(10.0, lease / 6)
