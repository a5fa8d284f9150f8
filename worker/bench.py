"""What a run's work stands on: its lease, the database, the storage; and how it ends."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import leases
from core import storage as storage_module
from core.db import Database, trouble
from core.leases import Lease, Order
from core.runs import Progress
from core.settings import Settings
from core.storage import Storage
from worker import disk
from worker.protocol import File

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 0.5


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
    work: Path
    _trusted_until: float = field(init=False)

    def __post_init__(self) -> None:
        self._trust_from(time.monotonic())

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
            log.warning("run %s: no heartbeat: %s", self.lease.run.id, error.orig)
            if time.monotonic() > self._trusted_until:
                raise LeaseNotProvable from error
            return "continue"
        # Trust runs from when the beat was sent: its answer may have been long on the way.
        self._trust_from(sent)
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
        listed = [self.adopt(file, verify=verify) for file in files]

        def publish(session: Session) -> list[str] | None:
            gone = leases.succeed(session, self.lease, result, listed)
            # Nobody needed an equal file until this transaction: it may have been collected.
            for file in listed:
                if not self.storage.has(str(file["sha256"])):
                    message = f"{file['path']} was collected while it was being published"
                    raise LookupError(message)
            return gone

        self._drop(self.write(publish))

    def fail(self, error: dict[str, Any]) -> None:
        """End the run badly; a full disk is waited for instead."""
        if error.get("code") == disk.CODE:
            self.give_back(disk.DETAIL, delay_seconds=disk.WAIT_SECONDS)
            return
        log.info("run %s failed: %s", self.lease.run.id, error)
        self._drop(self.write(lambda s: leases.fail(s, self.lease, error)))

    def cancel(self) -> None:
        """End the run, since its job is over."""
        self._drop(self.write(lambda s: leases.cancel(s, self.lease)))

    def give_back(self, reason: str, *, delay_seconds: float = 0.0) -> None:
        """Requeue the run: it was interrupted, and not by a fault of its own."""
        log.info("run %s goes back to the queue: %s", self.lease.run.id, reason)
        self.write(
            lambda s: leases.give_back(s, self.lease, reason=reason, delay_seconds=delay_seconds)
        )

    def lose(self, reason: str) -> None:
        """Requeue the run: its child died."""
        log.warning("run %s was lost: %s", self.lease.run.id, reason)
        self.write(lambda s: leases.lose(s, self.lease, reason=reason))

    def adopt(self, file: File, *, verify: bool = False) -> dict[str, Any]:
        """Move a child's file into the storage.

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
        self.storage.adopt(path, sha256)
        return {"path": file["path"], "sha256": sha256, "bytes": size}

    def _drop(self, hashes: list[str] | None) -> None:
        if hashes is None:
            log.warning("run %s belongs to somebody else now", self.lease.run.id)
        for sha256 in hashes or []:
            self.storage.delete(sha256)

    def _trust_from(self, moment: float) -> None:
        # Ten seconds before the lease ends (a sixth of a short one): time to kill the child.
        lease = self.lease.lease_seconds
        self._trusted_until = moment + lease - min(10.0, lease / 6)
