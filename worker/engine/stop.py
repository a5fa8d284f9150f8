"""How a run is told to stop."""

from __future__ import annotations

from collections.abc import Callable

from worker.protocol import Message

Say = Callable[[Message], None]
"""Takes a run's messages. A progress message is where a run may be stopped: it raises `Stopped`."""


class Stopped(Exception):
    """The supervisor wants this run to end where it is."""
