"""A service with keys, a broker and a worker, looked at from all sides after a job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stillhouse.client import Client
from tests import servers, waiting
from tests.e2e import conftest
from tests.servers import Service


@dataclass(frozen=True)
class Watched:
    """A service that has done a job, and where to look."""

    service: Service
    job: str
    admin: str
    metrics_port: int
    alive: Path

    def scrape(self) -> dict[tuple[str, frozenset[str]], float]:
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        return {
            (
                sample.name.removeprefix("stillhouse_"),
                frozenset(sample.labels.values()),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def lines(self, program: str) -> list[dict[str, Any]]:
        """What a program logged; each line of it is an object."""
        (path,) = self.service.folder.glob(f"{program}-*.out")
        return [json.loads(line) for line in path.read_text().splitlines()]

    def doctor(self, key: str | None) -> tuple[int, dict[str, Any]]:
        """Its exit code, and what it found."""
        kept = {name: value for name, value in os.environ.items() if "STILLHOUSE" not in name}
        shown = {"STILLHOUSE_KEY": key} if key else {}
        done = subprocess.run(
            [sys.executable, "-m", "stillhouse.cli", "doctor", "--json"],
            env=kept | shown | {"STILLHOUSE_URL": self.service.url},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        found = json.loads(done.stdout)["findings"]
        return done.returncode, {each["check"]: each for each in found}


@pytest.fixture(scope="module")
def watched(
    broker_url: str, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder, port = tmp_path_factory.mktemp("watched"), servers.free_port()
    service = Service(
        folder, broker_url=broker_url, auth="keys", log_format="json", checkpoint_seconds=0.1,
        metrics_port=port, alive_file=folder / "alive", metrics_key_file=folder / "metrics.key",
    )  # fmt: skip
    try:
        service.start()
        admin = (folder / "admin.key").read_text().strip()
        with Client(service.url, key=admin) as client:
            prepared = conftest.push(client, material)
            job = client.submit(conftest.job_spec(prepared, controls=[]))
            assert client.wait(job["id"])["status"] == "succeeded"
        yield Watched(service, job["id"], admin, port, folder / "alive")
    finally:
        service.stop()


def test_a_workers_figures_tell_what_it_did(watched: Watched) -> None:
    idle = frozenset({"device"})
    waiting.until(lambda: watched.scrape()["worker_busy", idle] == 0, what="an idle worker")
    found = watched.scrape()
    for kind, count in (("intake", 2), ("prepare", 1), ("train", 1), ("report", 1)):
        assert found["runs_ended_total", frozenset({kind, "succeeded"})] == count
    assert found["run_duration_seconds_sum", frozenset({"train", "succeeded"})] > 0
    assert found["checkpoint_duration_seconds_count", frozenset()] >= 1
    assert found["checkpoint_bytes_total", frozenset()] > 1000
    assert found["items_per_second", frozenset()] == 0
    assert found["worker_lease_age_seconds", frozenset()] == 0
    assert found["heartbeat_failures_total", frozenset()] == 0


def test_the_key_for_metrics_opens_them_and_no_more(watched: Watched) -> None:
    key = (watched.service.folder / "metrics.key").read_text().strip()
    with httpx.Client(base_url=watched.service.url) as bare:
        assert bare.get("/metrics").status_code == 401
        headers = {"authorization": f"Bearer {key}"}
        text = bare.get("/metrics", headers=headers).text
        assert 'stillhouse_jobs{status="succeeded"} 1.0' in text
        assert 'stillhouse_workers{kind="cpu",status="ready"} 1.0' in text
        assert "stillhouse_broker_up 1.0" in text
        assert bare.get("/v1/jobs", headers=headers).json()["data"] == []
        assert bare.get("/v1/diagnosis", headers=headers).status_code == 403


def test_every_line_of_both_logs_is_json_and_says_what_it_is_about(watched: Watched) -> None:
    worker = watched.lines("worker.main")
    claimed = [each for each in worker if "claimed" in each["message"]]
    assert {each["attempt"] for each in claimed} == {1}
    assert all(each["run"] in each["message"] for each in claimed)
    assert {each["job"] for each in claimed if "job" in each} == {watched.job}
    requests = [each for each in watched.lines("app") if each["logger"] == "app.requests"]
    created = next(
        each for each in requests if (each["method"], each["route"]) == ("POST", "/v1/jobs")
    )
    assert (created["status"], created["level"]) == (201, "INFO")
    assert created["request_id"].startswith("req_")
    assert created["key"].startswith("key_")
    for each in (*worker, *watched.lines("app")):
        assert watched.admin[-20:] not in json.dumps(each)


def test_a_worker_that_lives_touches_its_file(watched: Watched) -> None:
    os.utime(watched.alive, (1, 1))
    waiting.until(lambda: time.time() - watched.alive.stat().st_mtime < 10, what="a touch")


def test_the_doctor_finds_a_service_well(watched: Watched) -> None:
    code, found = watched.doctor(watched.admin)
    assert {
        each["check"]: each["message"] for each in found.values() if each["status"] == "fail"
    } == {}
    assert code == 0
    well = (
        "reach",
        "version",
        "key",
        "database",
        "workers",
        "broker",
        "auth",
        "upload",
        "download",
    )
    assert {found[check]["status"] for check in well} == {"ok"}


def test_the_doctor_tells_a_missing_key_from_one_that_may_only_read(watched: Watched) -> None:
    code, found = watched.doctor(None)
    assert (code, found["key"]["status"]) == (1, "fail")
    assert "STILLHOUSE_KEY" in found["key"]["remedy"]
    with Client(watched.service.url, key=watched.admin) as client:
        reading = client.create_key({"scopes": ["read"]})["key"]
    code, found = watched.doctor(reading)
    assert (code, found["service"]["status"], found["upload"]["status"]) == (0, "skip", "skip")
    assert found["download"]["status"] == "ok"
