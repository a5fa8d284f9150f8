"""What Prometheus is told, over each kind of database."""

import hashlib
import itertools
import shutil
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.census import Kept
from app.main import create_app
from core import keys
from core.db import Database
from core.settings import Settings
from tests import servers, waiting
from tests.stage import Stage

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def figures(client: TestClient) -> Figures:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(response.text))
    return {
        (
            sample.name.removeprefix("stillhouse_"),
            tuple(sorted(sample.labels.items())),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def named(found: Figures, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {labels: value for (each, labels), value in found.items() if each == name}


def test_jobs_runs_workers_and_files_are_told(client: TestClient, stage: Stage) -> None:
    stage.job()
    stage.worker()
    stage.upload(b"12345")
    found = figures(client)
    assert found["database_up", ()] == 1
    assert found["jobs", (("status", "queued"),)] == 1
    assert found["jobs", (("status", "succeeded"),)] == 0
    assert found["runs_queued", (("device", "auto"), ("kind", "prepare"))] == 1
    assert found["queue_oldest_seconds", (("device", "auto"),)] < 60
    assert found["workers", (("kind", "cpu"), ("status", "ready"))] == 1
    assert found["workers", (("kind", "cuda"), ("status", "lost"))] == 0
    assert found["lease_age_seconds", ()] == 0
    assert found["files", ()] >= 1
    assert found["files_bytes", ()] >= 5
    assert 0 < found["storage_free_bytes", ()] < found["storage_size_bytes", ()]
    assert named(found, "broker_up") == {}  # there is none
    assert found["process_resident_memory_bytes", ()] > 0


def test_a_scrape_soon_after_another_asks_the_database_nothing(client: TestClient) -> None:
    first = figures(client)
    asked: list[str] = []
    database: Database = client.app.state.stillhouse.database  # type: ignore[attr-defined]  # Starlette's
    event.listen(database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert (
        figures(client)["jobs", (("status", "queued"),)] == first["jobs", (("status", "queued"),)]
    )
    assert [each for each in asked if not each.startswith("BEGIN")] == []


def test_a_figure_that_is_dear_is_kept_longer(database: Database) -> None:
    quick, slow = itertools.count(), itertools.count()

    def ask_slow(_session: Session) -> int:
        threading.Event().wait(0.02)
        return next(slow)

    at_once = Kept(lambda _: next(quick), seconds=0)
    kept = Kept(lambda _: next(quick), seconds=3600)
    dear = Kept(ask_slow, seconds=0)  # a hundred times 0.02 s
    with database.read() as session:
        assert [each.value(session) for each in (dear, at_once, kept)] == [0, 0, 1]
        waiting.until(lambda: at_once.value(session) > 1)
        assert (kept.value(session), dear.value(session)) == (1, 0)


def test_requests_are_counted_by_template_and_never_by_what_was_sent(client: TestClient) -> None:
    for address in ("/v1/jobs/job_1", "/v1/jobs/job_2", "/nowhere", "/elsewhere", "/v1/methods"):
        client.get(address)
    client.request("BREW", "/v1/jobs")
    client.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"})
    found = figures(client)
    counted = {
        tuple(value for _, value in labels): count
        for labels, count in named(found, "http_requests_total").items()
    }
    assert counted == {
        ("GET", "/v1/jobs/{job_id}", "404"): 2,
        ("GET", "none", "404"): 2,
        ("GET", "/v1/methods", "200"): 1,
        ("OTHER", "/v1/jobs", "405"): 1,
        ("POST", "none", "400"): 1,
    }
    codes = {labels[0][1]: count for labels, count in named(found, "http_errors_total").items()}
    assert codes == {"not_found": 4, "method_not_allowed": 1, "malformed_request": 1}
    timed = named(found, "http_request_duration_seconds_count")
    assert timed[(("method", "GET"), ("route", "/v1/jobs/{job_id}"))] == 2


def test_uploads_are_counted_by_outcome_with_their_bytes(client: TestClient) -> None:
    content = b"x" * 1000
    address = f"/v1/blobs/{hashlib.sha256(content).hexdigest()}"
    assert client.put(address, content=content).status_code == 201
    assert client.put(address, content=content).status_code == 200
    assert client.put(f"/v1/blobs/{'0' * 64}", content=b"y").status_code == 422
    found = figures(client)
    outcomes = {labels[0][1]: count for labels, count in named(found, "uploads_total").items()}
    assert outcomes == {"new": 1, "known": 1, "failed": 1}
    assert found["upload_bytes_total", ()] == 2001


def test_bytes_of_files_that_go_out_are_counted(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    stage.play()
    student = client.get(f"/v1/jobs/{job}/students").json()["data"][0]
    weights = client.get(f"/v1/students/{student['id']}/files/model.safetensors").content
    assert figures(client)["download_bytes_total", ()] == len(weights) > 0


def test_a_database_that_is_away_is_told_and_no_error(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, database_url=f"postgresql://x@127.0.0.1:{servers.free_port()}/x"
    )
    with TestClient(create_app(settings)) as client:
        found = figures(client)
    assert found["database_up", ()] == 0
    assert named(found, "jobs") == named(found, "workers") == named(found, "runs_queued") == {}
    assert found["storage_free_bytes", ()] > 0


def test_a_database_that_never_answers_holds_no_scrape_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = Settings(data_dir=tmp_path, database_url=f"postgresql://x@127.0.0.1:{port}/x")
        app = create_app(settings)
        app.state.stillhouse.census.patience.seconds = 0.2
        with TestClient(app) as client:
            began = time.monotonic()
            assert [figures(client)["database_up", ()] for _ in range(3)] == [0, 0, 0]
            assert time.monotonic() - began < 3  # libpq itself waits for five seconds


def test_who_scraped_before_goes_on_while_the_database_is_away(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    path, key = tmp_path / "one.db", keys.draw()
    shutil.copy(migrated_sqlite, path)
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{path}", auth="keys")
    app = create_app(settings)
    database: Database = app.state.stillhouse.database
    with database.write() as session:
        keys.add(session, key, tenant="monitoring", scopes=["read"], name="m")
    with TestClient(app, headers={"authorization": f"Bearer {key}"}) as client:
        assert figures(client)["database_up", ()] == 1
        database.close()
        path.unlink()
        path.mkdir()  # "unable to open database file"
        doors, census = app.state.stillhouse.doors, app.state.stillhouse.census
        doors._known = {id_: replace(one, is_stale_at=0.0) for id_, one in doors._known.items()}
        census._quick._until = 0.0  # as if seconds had passed
        assert figures(client)["database_up", ()] == 0
        other = client.get("/metrics", headers={"authorization": f"Bearer {keys.draw()}"})
        assert other.status_code == 503


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=1.0.0", "*/*", ""])
def test_the_format_is_the_one_that_is_asked_for(client: TestClient, accept: str) -> None:
    response = client.get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    assert ("openmetrics" in response.headers["content-type"]) == ("openmetrics" in accept)
