"""`python -m benchmarks.status`: a status read, alone and while 40 clients wait.

Each client waits for one of the queued jobs. Blocks with and without them take turns.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from sqlalchemy import select

from benchmarks import crowd, requests, service, table
from benchmarks.requests import Caller
from benchmarks.table import Bound, Measured, Report
from core.db import Database
from core.tables import Job

ROUNDS = 5
READS = 100
"""In a block."""
WAITING = 40
_WAIT_SECONDS = 4
_WARM_READS = 50


def measure(*, rounds: int = ROUNDS) -> Report:
    """Read a job's status in blocks."""
    with tempfile.TemporaryDirectory(prefix="status") as name:
        folder = Path(name)
        database = crowd.make(f"sqlite:///{folder / 'status.db'}", folder, factor=1)
        queued = _queued(database)
        with service.api(database.url) as port:
            alone, among = _read(port, queued, rounds=rounds)
        database.close()
    return Report(
        "Status: one read, and 40 who wait",
        measured=(alone, among),
        findings=(
            table.ratio(
                f"with {WAITING} waiting / alone", among, alone, bound=Bound("at most", 1.5)
            ),
        ),
        note=f"{rounds} blocks of {READS} reads each way, SQLite.",
    )


def _read(port: int, queued: list[str], *, rounds: int) -> tuple[Measured, Measured]:
    caller, path = Caller(port), f"/v1/jobs/{queued[0]}"
    paths = [f"/v1/jobs/{queued[place % len(queued)]}" for place in range(WAITING)]
    for _ in range(_WARM_READS):
        caller.get(path)
    alone: list[float] = []
    among: list[float] = []
    for _ in range(rounds):
        alone += [caller.get(path) for _ in range(READS)]
        with requests.waiting(port, paths, seconds=_WAIT_SECONDS):
            among += [caller.get(path) for _ in range(READS)]
    caller.close()
    return Measured("alone", alone, "ms"), Measured(f"with {WAITING} waiting", among, "ms")


def _queued(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Job.id).where(Job.status == "queued")))


def main() -> int:
    """Measure and print."""
    report = measure()
    table.show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
