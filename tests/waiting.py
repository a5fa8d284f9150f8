"""Wait on a condition, never on a clock alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.05


def until(look: Callable[[], T], *, seconds: float = 30.0, what: str = "the condition") -> T:
    """What `look` returns as soon as it's true.

    Raises:
        AssertionError: if it isn't within `seconds`.
    """
    end = time.monotonic() + seconds
    never = threading.Event()
    while not (found := look()):
        if time.monotonic() > end:
            message = f"{what} did not come true within {seconds} s; last seen: {found!r}"
            raise AssertionError(message)
        never.wait(LOOK_SECONDS)
    return found
