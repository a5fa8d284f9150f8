"""The resident memory of a process while something happens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LOOK_SECONDS = 0.02
_MIB = 1024.0


@dataclass(slots=True)
class Growth:
    """Resident memory, MiB: before, and at its highest."""

    before: float
    highest: float

    @property
    def mib(self) -> float:
        """By how much it grew."""
        return self.highest - self.before


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Growth]:
    """Sample a process's resident memory until the block ends."""
    growth = Growth(before=_resident(pid), highest=_resident(pid))
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            growth.highest = max(growth.highest, _resident(pid))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield growth
    finally:
        over.set()
        thread.join()


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / _MIB
    return 0.0
