"""Work in a thread beside the one that keeps the lease."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def start(work: Callable[[], T], *, name: str) -> Future[T]:
    """Begin `work` in a thread that nobody needs to wait for: it ends with the process."""
    errand: Future[T] = Future()

    def do() -> None:
        try:
            errand.set_result(work())
        except BaseException as error:  # noqa: BLE001  whoever asks for the result gets it
            errand.set_exception(error)

    # A copy of the context, so that the log says of its lines, too, which run they are about.
    threading.Thread(target=copy_context().run, args=(do,), name=name, daemon=True).start()
    return errand
