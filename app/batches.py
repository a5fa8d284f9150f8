"""Many callers, one transaction: what is asked for while a batch is at work goes into the next.

Alone, a caller waits for nobody. Under load the cost of a transaction is shared, and the
database's own queue of writers stays short (PostgreSQL calls the same a group commit).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

Work = Callable[[list[Asked]], list[Answered | Exception]]
"""Answers each of the asked, in their order, with what it found or what went wrong."""


class Batches(Generic[Asked, Answered]):
    """Hands what was asked meanwhile to one thread, again and again."""

    def __init__(self, work: Work[Asked, Answered], *, at_most: int) -> None:
        self._work = work
        self._at_most = at_most
        self._waiting: list[tuple[Asked, asyncio.Future[Answered]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked) -> Answered:
        """The answer to one question; raises what went wrong with it."""
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._task is None or self._task.done():
            # Not in the context of the first who asks: the log would take it for all the others.
            self._task = asyncio.create_task(self._serve(), context=Context())
        return await answer

    async def _serve(self) -> None:
        while self._waiting:
            batch = self._waiting[: self._at_most]
            del self._waiting[: self._at_most]
            for (_, answer), found in zip(batch, await self._found(batch), strict=True):
                if answer.done():  # the client has gone
                    continue
                if isinstance(found, Exception):
                    answer.set_exception(found)
                else:
                    answer.set_result(found)

    async def _found(
        self, batch: list[tuple[Asked, asyncio.Future[Answered]]]
    ) -> list[Answered | Exception]:
        try:
            return await run_in_threadpool(self._work, [asked for asked, _ in batch])
        except Exception as error:  # noqa: BLE001  it is each caller's own answer
            return [error for _ in batch]
