"""What a worker counts; the figures of a real one are read in tests/e2e/test_eyes.py."""

import socket
import threading
import urllib.request

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from core import logs
from core.settings import Settings
from core.tables import Run
from tests import servers
from worker import errands, metrics

Sample = tuple[str, tuple[tuple[str, str], ...]]


def figures() -> dict[Sample, float]:
    text = generate_latest(metrics._registry).decode()
    return {
        (
            sample.name.removeprefix("stillhouse_"),
            tuple(sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ended(kind: str, outcome: str) -> float:
    return figures()["runs_ended_total", (("kind", kind), ("outcome", outcome))]


def test_a_run_is_at_work_until_it_ends_and_counts_by_its_outcome() -> None:
    before = ended("train", "succeeded")
    with metrics.at_work(Run(id="run_1", kind="train")):
        during = figures()
        assert during["worker_busy", (("lane", "device"),)] == 1
        assert during["worker_busy", (("lane", "intake"),)] == 0
        assert 0 <= during["worker_lease_age_seconds", ()] < 5
        metrics.heard([("loss", 3, 0.5), ("items_per_second", 3, 120.0)])
        assert figures()["items_per_second", ()] == 120
        metrics.ended("run_1", "succeeded")
    after = figures()
    assert ended("train", "succeeded") == before + 1
    assert after["worker_busy", (("lane", "device"),)] == after["items_per_second", ()] == 0
    assert after["worker_lease_age_seconds", ()] == 0
    assert after["run_duration_seconds_count", (("kind", "train"), ("outcome", "succeeded"))] >= 1


def test_intake_keeps_its_own_lane_busy() -> None:
    with metrics.at_work(Run(id="run_2", kind="intake")):
        during = figures()
    assert during["worker_busy", (("lane", "intake"),)] == 1
    assert during["worker_busy", (("lane", "device"),)] == 0


def test_a_run_that_nobody_ended_was_left() -> None:
    before = ended("report", "left")

    def break_off() -> None:
        with metrics.at_work(Run(id="run_3", kind="report")):
            raise LookupError

    with pytest.raises(LookupError):
        break_off()
    metrics.ended("run_3", "succeeded")  # too late
    assert ended("report", "left") == before + 1


def test_a_heartbeat_that_is_taken_makes_the_lease_young() -> None:
    with metrics.at_work(Run(id="run_4", kind="prepare")):
        metrics._at_work.runs["run_4"].heard -= 100
        assert figures()["worker_lease_age_seconds", ()] >= 100
        metrics.beaten("run_4")
        assert figures()["worker_lease_age_seconds", ()] < 50
    failures = figures()["heartbeat_failures_total", ()]
    metrics.not_beaten()
    assert figures()["heartbeat_failures_total", ()] == failures + 1


def test_only_a_checkpoint_that_was_stored_counts_its_bytes() -> None:
    before = figures()["checkpoint_bytes_total", ()]
    with metrics.checkpoint(100):
        pass

    def fail() -> None:
        with metrics.checkpoint(100):
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert figures()["checkpoint_bytes_total", ()] == before + 100


def test_the_figures_are_at_an_address_of_their_own() -> None:
    port = servers.free_port()
    metrics.serve(Settings(metrics_port=port))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"stillhouse_runs_ended_total" in answer.read()


def test_a_port_that_is_taken_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics.serve(Settings(metrics_port=taken.getsockname()[1]))
    assert "set STILLHOUSE_METRICS_PORT to a free port" in caplog.text
    threads = threading.active_count()
    metrics.serve(Settings())
    assert threading.active_count() == threads


def test_an_errand_knows_what_it_is_about() -> None:
    with logs.bound(run="run_5"):
        errand = errands.start(lambda: dict(logs.context()), name="x")
    assert errand.result(5) == {"run": "run_5"}
