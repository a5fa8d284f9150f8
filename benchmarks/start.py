"""`python -m benchmarks.start`: from submit to the first recorded training step, and where it goes.

One machine, SQLite, the worker warm and idle, teacher and dataset ready.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks import material, table
from benchmarks.material import Ready
from benchmarks.table import Bound, Measured, Report
from core.db import Database
from core.tables import Job, Run
from stillhouse.client import Client
from tests.servers import Service

RUNS = 7
_LOOK_SECONDS = 0.002
_LIMIT_SECONDS = 60.0
STAGES = (
    "submit answered",
    "prepare claimed",
    "prepare done",
    "train claimed",
    "first step recorded",
)


def measure(*, runs: int = RUNS) -> Report:
    """Submit a job, wait for its first step and its end, and again."""
    with tempfile.TemporaryDirectory(prefix="start") as name:
        service = Service(Path(name))
        service.start()
        database = Database(service.database_url)
        try:
            with Client(service.url) as client:
                ready = material.push(client, Path(name))
                client.wait(client.submit(_spec(ready))["id"])  # the trainer is warm from here on
                times = [_time_one(client, database, ready) for _ in range(runs)]
        finally:
            database.close()
            service.stop()
    return _report(times)


def _report(times: list[list[float]]) -> Report:
    stages = [
        Measured(f"until {name}", [run[place] for run in times], "s")
        for place, name in enumerate(STAGES)
    ]
    total = Measured("submit to first step", stages[-1].values, "s")
    return Report(
        "Start: submit to first training step",
        measured=tuple(stages),
        findings=(table.median(total, bound=Bound("at most", 1.0)),),
        note="Seconds since the request was sent; two students, two arms, no broker.",
    )


def _time_one(client: Client, database: Database, ready: Ready) -> list[float]:
    began = time.time()
    job: str = client.submit(_spec(ready))["id"]
    answered = time.time()
    seen = _first_step(database, job)
    client.wait(job)
    with database.read() as session:
        row = session.get_one(Job, job)
        runs = session.scalars(select(Run).where(Run.job == job).order_by(Run.started_at)).all()
    prepare = next(run for run in runs if run.kind == "prepare")
    train = next(run for run in runs if run.kind == "train")
    moments = [answered, prepare.started_at, row.training_at, train.started_at, seen]
    return [(moment or 0.0) - began for moment in moments]


def _first_step(database: Database, job: str) -> float:
    """Look until a step of a training run is in SQL; when that was."""
    query = select(Run.id).where(Run.job == job, Run.kind == "train", Run.step > 0).limit(1)
    pause, end = threading.Event(), time.time() + _LIMIT_SECONDS
    while time.time() < end:
        with database.read() as session:
            if session.scalar(query) is not None:
                return time.time()
        pause.wait(_LOOK_SECONDS)
    message = f"job {job} took no step within {_LIMIT_SECONDS:.0f} s"
    raise TimeoutError(message)


def _spec(ready: Ready) -> dict[str, Any]:
    return {
        "teachers": [{"id": ready.teacher}],
        "dataset": ready.dataset,
        "students": [
            {"name": name, "network": {"family": "builtin", "name": name}}
            for name in ("resnet8", "mlp")
        ],
        "training": {"epochs": 2, "batch_size": 64},
    }


def main() -> int:
    """Measure and print."""
    report = measure()
    table.show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
