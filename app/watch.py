"""Waiting for objects to change without holding a thread: one look for all who wait."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from typing import Any

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from core.db import Database
from core.tables import Dataset, Job, Teacher

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
GONE = (sys.maxsize, "failed")
ENDED = frozenset({"succeeded", "failed", "cancelled", "ready", "rejected"})

Kind = type[Job] | type[Teacher] | type[Dataset]


class Watcher:
    """Looks up the versions of all watched objects together, while there are any."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watched: Counter[tuple[Kind, str]] = Counter()
        self._seen: dict[str, tuple[int, str]] = {}
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def until(
        self, kind: Kind, object_id: str, *, changed_from: int | None, seconds: float
    ) -> None:
        """Return when the object has another version (or, without one, has ended), or is gone.

        Args:
            kind: its table.
            object_id: its id.
            changed_from: a version; None waits for its end.
            seconds: return after that long in any case.
        """
        key = (kind, object_id)
        self._watched[key] += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self._is_over(object_id, changed_from))
        except TimeoutError:
            pass
        finally:
            self._watched[key] -= 1
            if self._watched[key] <= 0:
                del self._watched[key]
                self._seen.pop(object_id, None)

    def _is_over(self, object_id: str, changed_from: int | None) -> bool:
        if object_id not in self._seen:
            return False
        version, status = self._seen[object_id]
        return status in ENDED if changed_from is None else version > changed_from

    async def _look(self) -> None:
        while self._watched:
            wanted = list(self._watched)
            try:
                found = await run_in_threadpool(self._versions, wanted)
            except SQLAlchemyError as error:
                log.warning("cannot look whether objects have changed: %s", error)
            else:
                gone = {key[1]: GONE for key in wanted if key[1] not in found}
                await self._tell(found | gone)
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self, found: dict[str, tuple[int, str]]) -> None:
        async with self._changed:
            watched = {key[1] for key in self._watched}  # some have stopped waiting meanwhile
            self._seen.update({key: value for key, value in found.items() if key in watched})
            self._changed.notify_all()

    def _versions(self, wanted: list[tuple[Kind, str]]) -> dict[str, tuple[int, str]]:
        found: dict[str, tuple[int, str]] = {}
        with self._database.read() as session:
            for kind in {key[0] for key in wanted}:
                table: Any = kind
                ids = [key[1] for key in wanted if key[0] is kind]
                query = select(table.id, table.version, table.status).where(table.id.in_(ids))
                found |= {row.id: (row.version, row.status) for row in session.execute(query)}
        return found
