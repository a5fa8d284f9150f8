"""Whether database and storage are up, as anybody may ask: looked up by one, kept for all.

Each look writes to the storage and takes a connection, and who asks shows no key: asked however
often, neither is looked at more than once in `KEPT_SECONDS`, nor by two at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

from sqlalchemy import select, text

from app.patience import Patience
from core import workers
from core.db import Database
from core.storage import Storage
from core.tables import Worker
from stillhouse.errors import StillhouseError

T = TypeVar("T")

KEPT_SECONDS = 2.0
PATIENCE_SECONDS = 3.0


class Probe(Generic[T]):
    """A check's last answer; while one looks again, the others are given it."""

    def __init__(self, check: Callable[[], T], *, silent: T) -> None:
        self._check = check
        self._silent = silent
        self._patience = Patience(seconds=PATIENCE_SECONDS, threads=1)
        self._last: T | None = None
        self._until = 0.0
        self._looking: asyncio.Task[T] | None = None

    async def answer(self) -> T:
        """What the check said lately; `silent` if it didn't answer."""
        is_looking = self._looking is not None and not self._looking.done()
        if self._last is not None and (is_looking or time.monotonic() < self._until):
            return self._last
        if self._looking is None or self._looking.done():
            # Not in the context of the first who asks, whose request the log would name.
            self._looking = asyncio.create_task(self._look(), context=Context())
        return await asyncio.shield(self._looking)

    async def _look(self) -> T:
        try:
            found = await self._patience.ask(self._check)
        except TimeoutError:
            found = self._silent
        self._last, self._until = found, time.monotonic() + KEPT_SECONDS
        return found


class Readiness:
    """The probes of one process."""

    def __init__(self, database: Database, *, storage: Storage, lease_seconds: float) -> None:
        self._database = database
        self._storage = storage
        self._lease_seconds = lease_seconds
        silence = f"away: no answer within {PATIENCE_SECONDS:.0f} s"
        self.database: Probe[str] = Probe(self._ask_database, silent=silence)
        self.storage: Probe[str] = Probe(self._ask_storage, silent=silence)
        self.workers: Probe[int | None] = Probe(self._count_workers, silent=None)

    def _ask_database(self) -> str:
        try:
            with self._database.read() as session:
                session.execute(text("SELECT 1"))
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is "not ready"
            return f"away: {type(error).__name__}"
        return "ok"

    def _ask_storage(self) -> str:
        try:
            self._storage.check()
        except (OSError, StillhouseError) as error:
            return f"away: {error}"
        return "ok"

    def _count_workers(self) -> int | None:
        alive = Worker.last_seen_at > workers.alive_since(self._lease_seconds)
        try:
            with self._database.read() as session:
                return len(session.scalars(select(Worker.id).where(alive)).all())
        except Exception:  # noqa: BLE001  it was just there; how many is then not known
            return None
