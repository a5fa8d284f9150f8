"""The trainer's line to its supervisor: messages as JSON, one a line."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from typing import Any, TextIO

from worker.engine.stop import Say, Stopped
from worker.protocol import MESSAGE_FD_VARIABLE, Message

_PROGRESS_SECONDS = 0.5


class Line:
    """A descriptor that messages go to. Not for several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @classmethod
    def of_environment(cls) -> Line:
        """The line whose descriptor the supervisor named; no child of ours inherits it."""
        descriptor = int(os.environ[MESSAGE_FD_VARIABLE])
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - os takes it by position only
        return cls(os.fdopen(descriptor, "w", encoding="utf-8"))

    def send(self, message: Message) -> None:
        """Send a message; if nobody is there to read it, end the process."""
        try:
            print(json.dumps(_finite(message), allow_nan=False), file=self._stream, flush=True)
        except BrokenPipeError:
            os._exit(0)

    def until(self, stop: threading.Event) -> Say:
        """What a run speaks through: half a second between progress messages, and stoppable.

        The first step is told at once: until then nobody knows that the run does anything.
        """
        next_progress, has_begun = 0.0, False

        def say(message: Message) -> None:
            nonlocal next_progress, has_begun
            if message["type"] != "progress":
                self.send(message)
                return
            if stop.is_set():
                raise Stopped
            now = time.monotonic()
            begins = not has_begun and message.get("step", 0) > 0
            if begins or now >= next_progress:
                has_begun = has_begun or begins
                next_progress = now + _PROGRESS_SECONDS
                self.send(message)

        return say


def _finite(value: Any) -> Any:
    """JSON data with null for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
