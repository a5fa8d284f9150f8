"""What this worker counts for Prometheus, at an address of its own (see docs/observe.md).

Labels are closed sets; which job or student a run was for stands in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.settings import Settings
from core.tables import Run
from stillhouse import __version__
from worker.gpus import Gpus

log = logging.getLogger(__name__)

KINDS = ("intake", "estimate", "prepare", "train", "report")
OUTCOMES = ("succeeded", "failed", "cancelled", "returned", "lost", "left")
"""returned: interrupted on purpose; lost: its child died; left: its lease was gone."""
SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)


@dataclass(slots=True)
class Work:
    """A run that is worked on here."""

    kind: str
    began: float
    heard: float
    outcome: str = "left"


class AtWork(Collector):
    """What can be said only at the moment of asking."""

    def __init__(self) -> None:
        self.runs: dict[str, Work] = {}

    def collect(self) -> Iterator[Metric]:
        """Whether each lane is busy, and since when no heartbeat was accepted."""
        now, runs = time.monotonic(), list(self.runs.values())
        busy = GaugeMetricFamily(
            "stillhouse_worker_busy", "Whether a run is at work: on the device, or intake.",
            labels=["lane"],
        )  # fmt: skip
        is_intake = [work.kind == "intake" for work in runs]
        busy.add_metric(["device"], float(not all(is_intake)))
        busy.add_metric(["intake"], float(any(is_intake)))
        yield busy
        yield GaugeMetricFamily(
            "stillhouse_worker_lease_age_seconds",
            "Since the last heartbeat that was accepted; 0 when idle.",
            value=max((now - work.heard for work in runs), default=0.0),
        )


# They would be a second series for each counter, which nothing here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives it no types
_registry = CollectorRegistry()
_at_work = AtWork()
ProcessCollector(registry=_registry)
_registry.register(_at_work)
_registry.register(Gpus())
_ended = Counter(
    "stillhouse_runs_ended_total", "Runs that ended on this worker.", ["kind", "outcome"],
    registry=_registry,
)  # fmt: skip
_seconds = Histogram(
    "stillhouse_run_duration_seconds", "From a claim to its end.", ["kind", "outcome"],
    buckets=SECONDS, registry=_registry,
)  # fmt: skip
_items = Gauge(
    "stillhouse_items_per_second", "Items trained on, the newest figure; 0 when idle.",
    registry=_registry,
)  # fmt: skip
_checkpoint_bytes = Counter(
    "stillhouse_checkpoint_bytes_total", "Bytes of checkpoints that were stored.",
    registry=_registry,
)  # fmt: skip
_checkpoint_seconds = Summary(
    "stillhouse_checkpoint_duration_seconds", "Storing a checkpoint.", registry=_registry
)
_failed_beats = Counter(
    "stillhouse_heartbeat_failures_total", "Heartbeats that the database did not take.",
    registry=_registry,
)  # fmt: skip
_build = Gauge(
    "stillhouse_build_info", "1, with the version as a label.", ["version"], registry=_registry
)
_build.labels(__version__).set(1)
for _kind in KINDS:
    for _outcome in OUTCOMES:
        _ended.labels(_kind, _outcome)  # a rate from nothing to one needs the nothing


def serve(settings: Settings) -> None:
    """Answer Prometheus from now on, if the settings say where; it never stops a worker."""
    if settings.metrics_port is None:
        return
    where = f"{settings.metrics_host}:{settings.metrics_port}"
    try:
        server, _ = start_http_server(settings.metrics_port, settings.metrics_host, _registry)
    except OSError as error:
        log.warning(
            "no metrics: can't listen on %s (%s); set STILLHOUSE_METRICS_PORT to a free port",
            where, error.strerror or error,
        )  # fmt: skip
        return
    log.info("metrics are at http://%s:%d/metrics", settings.metrics_host, server.server_port)


@contextmanager
def at_work(run: Run) -> Iterator[None]:
    """Time a run, and count how it ended: as `ended` said, or else it was left."""
    now = time.monotonic()
    work = _at_work.runs[run.id] = Work(run.kind, began=now, heard=now)
    try:
        yield
    finally:
        _at_work.runs.pop(run.id, None)
        _ended.labels(work.kind, work.outcome).inc()
        _seconds.labels(work.kind, work.outcome).observe(time.monotonic() - work.began)
        if work.kind == "train":
            _items.set(0)


def ended(run_id: str, outcome: str) -> None:
    """How a run ended, one of `OUTCOMES`."""
    if run_id in _at_work.runs:
        _at_work.runs[run_id].outcome = outcome


def beaten(run_id: str) -> None:
    """A heartbeat was accepted."""
    if run_id in _at_work.runs:
        _at_work.runs[run_id].heard = time.monotonic()


def not_beaten() -> None:
    """A heartbeat was not accepted."""
    _failed_beats.inc()


def heard(points: Iterable[tuple[str, int, float]]) -> None:
    """Points of curves: (name, step, value); the speed is among them."""
    for name, _, value in points:
        if name == "items_per_second" and value is not None:
            _items.set(value)


@contextmanager
def checkpoint(size: int) -> Iterator[None]:
    """Time the storing of a checkpoint of so many bytes."""
    with _checkpoint_seconds.time():
        yield
    _checkpoint_bytes.inc(size)
