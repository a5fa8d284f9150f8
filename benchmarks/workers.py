"""`python -m benchmarks.workers`: 1, 2 and 4 workers on one queue of short CPU jobs.

PostgreSQL and Valkey, all on this machine. What the service itself spends on a job is the CPU
time of its API and of its supervisors; the trainers' own is the work. Every run must have been
claimed once.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks import material, table
from benchmarks.material import Ready
from benchmarks.table import Bound, Finding, Measured, Report
from core.db import Database
from core.tables import Run
from stillhouse.client import Client
from tests import servers, waiting
from tests.servers import Service

WORKERS = (1, 2, 4)
JOBS = 16
ROUNDS = 3
_LIMIT_SECONDS = 600.0
_FLAT = Bound("at most", 1.5)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds a job."""

    wall: float
    overhead: float
    work: float


def measure(*, jobs: int = JOBS, rounds: int = ROUNDS) -> Report:
    """Empty a queue with more and more workers."""
    costs: dict[int, list[Cost]] = {count: [] for count in WORKERS}
    attempts = []
    with ExitStack() as stack:
        server = stack.enter_context(servers.postgres())
        broker = stack.enter_context(servers.valkey())
        for count in WORKERS * rounds:
            with _service(servers.fresh_postgres_database(server), broker, count) as service:
                cost, most = _empty_a_queue(service, jobs=jobs)
            costs[count].append(cost)
            attempts.append(most)
    return _report(costs, max(attempts), jobs=jobs)


@contextmanager
def _service(database_url: str, broker: str, count: int) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="workers") as name:
        service = Service(Path(name), database_url=database_url, broker_url=broker)
        service.start()
        for _ in range(count - 1):
            service.start_worker()
        with Client(service.url) as client:
            waiting.until(lambda: len(list(client.workers())) == count, seconds=120, what="workers")
        try:
            yield service
        finally:
            service.stop()


def _empty_a_queue(service: Service, *, jobs: int) -> tuple[Cost, int]:
    database = Database(service.database_url)
    with Client(service.url, timeout=_LIMIT_SECONDS) as client:
        ready = material.push(client, service.folder)
        client.wait(client.submit(_spec(ready))["id"])  # every trainer is warm from here on
        before, began = _cpu_seconds(service), time.perf_counter()
        made = [client.submit(_spec(ready))["id"] for _ in range(jobs)]
        for job in made:
            client.wait(job)
        wall = time.perf_counter() - began
        after = _cpu_seconds(service)
    with database.read() as session:
        most = session.scalar(select(func.max(Run.attempts)))
    database.close()
    overhead, work = (after[kind] - before[kind] for kind in (0, 1))
    return Cost(wall / jobs, overhead / jobs, work / jobs), int(most or 0)


def _spec(ready: Ready) -> dict[str, Any]:
    return {
        "teachers": [{"id": ready.teacher}],
        "dataset": ready.dataset,
        "students": [{"name": "small", "network": {"family": "builtin", "name": "mlp"}}],
        "training": {"epochs": 1, "batch_size": 64},
        "controls": [],
        "resources": {"device": "cpu"},
    }


def _cpu_seconds(service: Service) -> tuple[float, float]:
    """Of the API and the supervisors, and of the trainers."""
    own = [*service.descendants("app"), *service.descendants("worker.main")]
    trainers = service.descendants("worker.trainer")
    return sum(map(_spent, own)), sum(map(_spent, trainers))


def _spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _report(costs: dict[int, list[Cost]], attempts: int, *, jobs: int) -> Report:
    overhead = {
        count: Measured(f"{count} workers, overhead a job", [c.overhead for c in each], "s CPU")
        for count, each in costs.items()
    }
    measured = []
    for count, each in costs.items():
        measured += [
            Measured(f"{count} workers, wall time a job", [c.wall for c in each], "s"),
            overhead[count],
            Measured(f"{count} workers, the trainers' work", [c.work for c in each], "s CPU"),
        ]
    few = overhead[WORKERS[0]]
    flat = [
        table.ratio(
            f"overhead, {count} workers / 1", overhead[count], few, bound=Bound("at most", 1.5)
        )
        for count in WORKERS[1:]
    ]
    once = Finding("most claims of one run", attempts, bound=Bound("at most", 1))
    return Report(
        "1, 2 and 4 workers on one queue of short jobs",
        measured=tuple(measured),
        findings=(*flat, once),
        note=f"{jobs} jobs of three runs each, {len(next(iter(costs.values())))} rounds in turn.",
    )


def main() -> int:
    """Measure and print."""
    report = measure()
    table.show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
