"""Work that may hang, waited for only so long, on threads of its own.

A thread that hangs is not joined by more than its few fellows, whatever is asked meanwhile: a
limiter of anyio's would count it as free as soon as nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import anyio

T = TypeVar("T")


class Patience:
    """So many threads, and so many seconds for whoever asks."""

    def __init__(self, *, seconds: float, threads: int) -> None:
        self.seconds = seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="patience")
        self._free = asyncio.Semaphore(threads)

    async def ask(self, work: Callable[[], T]) -> T:
        """What the work returns or raises; raises `TimeoutError` if it takes too long."""
        with anyio.fail_after(self.seconds):
            await self._free.acquire()
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._pool, copy_context().run, work)
            running.add_done_callback(self._ended)
            return await asyncio.shield(running)

    def _ended(self, running: asyncio.Future[T]) -> None:
        self._free.release()
        if not running.cancelled():
            running.exception()  # nobody may be there to take it, and that is no fault
