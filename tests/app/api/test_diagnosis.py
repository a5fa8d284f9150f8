"""What the service says is wrong with it, over each kind of database."""

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update
from starlette.testclient import TestClient

from app.main import create_app
from core import keys, migrate, workers
from core.db import Database
from core.settings import Settings
from core.tables import Event, Run, Worker
from stillhouse import __version__
from tests import servers, waiting
from tests.stage import Stage, expired_at

EVERY = {
    "database", "storage", "disk", "broker", "auth", "round_trip", "clock", "books", "workers",
    "lost_workers", "draining", "versions", "queue", "leases", "losses",
}  # fmt: skip


def diagnose(client: TestClient) -> dict[str, dict[str, Any]]:
    answer = client.get("/v1/diagnosis")
    assert answer.status_code == 200
    return {each["check"]: each for each in answer.json()["findings"]}


def enrol(stage: Stage, name: str = "w", *, kind: str = "cpu", software: str = __version__) -> str:
    with stage.database.write() as session:
        made = workers.enrol(session, name=name, device=kind, memory_bytes=5, software=software).id
        workers.describe(session, made, kind=kind, device=kind, memory_bytes=5)
        workers.seen(session, made, status="ready", run=None)
    return made


def change(stage: Stage, kind: type[Run | Worker], **values: Any) -> None:
    with stage.database.write() as session:
        session.execute(update(kind).values(**values))


def mark(database: Database, revision: str) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})


def test_a_service_that_is_well_says_so(client: TestClient, stage: Stage) -> None:
    enrol(stage)
    found = diagnose(client)
    assert set(found) == EVERY
    assert "no run was lost" in found["losses"]["message"]
    assert {check for check, each in found.items() if each["status"] != "ok"} == {"auth"}
    assert found["auth"]["status"] == "warn"
    for each in found.values():
        assert each["message"].endswith(".")
        assert (each["remedy"] is None) == (each["status"] == "ok")
    assert client.get("/v1/diagnosis").json()["status"] == "warn"


def test_nothing_is_worked_on_without_a_worker(client: TestClient, stage: Stage) -> None:
    stage.job()
    found = diagnose(client)
    assert found["workers"]["status"] == found["queue"]["status"] == "fail"
    assert "1 run for any worker" in found["queue"]["message"]
    assert client.get("/v1/diagnosis").json()["status"] == "fail"


def test_a_storage_of_another_database_is_told(client: TestClient, stage: Stage) -> None:
    stage.upload(b"ours")
    stage.put(b"theirs")
    assert diagnose(client)["books"]["status"] == "ok"
    stage.put(b"theirs, too")
    books = diagnose(client)["books"]
    assert (books["status"], "knows 1 of 3 files" in books["message"]) == ("warn", True)
    assert "STILLHOUSE_DATABASE_URL" in books["remedy"]


def test_a_run_that_asks_for_a_device_that_nobody_has_is_named(
    client: TestClient, stage: Stage
) -> None:
    stage.job(resources={"device": "cuda"})
    enrol(stage, kind="cpu")
    queue = diagnose(client)["queue"]
    assert queue["status"] == "fail"
    assert "a worker with the device cuda" in queue["message"]
    enrol(stage, "g", kind="cuda")
    assert diagnose(client)["queue"]["status"] == "ok"


def test_a_queue_that_idle_or_busy_workers_leave_is_told_apart(
    client: TestClient, stage: Stage
) -> None:
    stage.job()
    enrol(stage)
    change(stage, Run, created_at=time.time() - 7200)
    idle = diagnose(client)["queue"]
    assert (idle["status"], "although w has no run" in idle["message"]) == ("warn", True)
    change(stage, Worker, run="run_1", status="busy")
    busy = diagnose(client)["queue"]
    assert (busy["status"], "are busy" in busy["message"]) == ("warn", True)
    change(stage, Worker, is_draining=True)
    found = diagnose(client)
    assert (found["queue"]["status"], found["draining"]["status"]) == ("fail", "warn")
    assert "w (wrk_" in found["draining"]["message"]
    assert "stillhouse drain --undo wrk_…" in found["draining"]["remedy"]


def test_a_worker_that_fell_silent_is_told_from_one_that_signed_off(
    client: TestClient, stage: Stage
) -> None:
    made = enrol(stage)
    change(stage, Worker, last_seen_at=time.time() - 300)
    lost = diagnose(client)["lost_workers"]
    assert (lost["status"], "w (5 min ago)" in lost["message"]) == ("warn", True)
    with stage.database.write() as session:
        workers.leave(session, made)
    assert diagnose(client)["lost_workers"]["status"] == "ok"
    enrol(stage)
    change(stage, Worker, last_seen_at=time.time() - 40)
    assert "w has said nothing for 40 s" in diagnose(client)["lost_workers"]["message"]


def test_a_worker_of_another_version_is_named(client: TestClient, stage: Stage) -> None:
    enrol(stage, software="0.0.9")
    found = diagnose(client)["versions"]
    assert (found["status"], "w (0.0.9)" in found["message"]) == ("warn", True)


def test_leases_that_nobody_takes_back_and_losses_are_told(
    client: TestClient, stage: Stage
) -> None:
    job = stage.job()
    expired_at(stage, stage.take())
    with stage.database.write() as session:
        for _ in range(3):
            session.add(Event(job=job, type="run_lost", message="", data={}))
    found = diagnose(client)
    assert (found["leases"]["status"], found["losses"]["status"]) == ("fail", "warn")
    assert "lost 3 times" in found["losses"]["message"]


def test_a_database_of_another_version_is_told(client: TestClient, database: Database) -> None:
    *_, older, newest = migrate.revisions()
    try:
        mark(database, older)
        found = diagnose(client)
        assert found["database"]["status"] == "fail"
        assert "python -m app migrate" in found["database"]["remedy"]
        mark(database, "from_the_future")
        assert diagnose(client)["database"]["status"] == "warn"
    finally:
        mark(database, newest)


def test_parts_that_are_away_are_told_within_seconds(tmp_path: Path) -> None:
    gone = servers.free_port()
    settings = Settings(
        data_dir=tmp_path,
        database_url=f"postgresql://x@127.0.0.1:{gone}/x",
        broker_url=f"redis://127.0.0.1:{gone}/0",
        min_free_bytes=2**60,
    )
    with TestClient(create_app(settings)) as client:

        def storage_fails() -> bool:
            # The service makes the folder when it starts, and may be about to.
            with contextlib.suppress(FileNotFoundError):
                (tmp_path / "storage" / "tmp").rmdir()
            return bool(diagnose(client)["storage"]["status"] == "fail")

        waiting.until(storage_fails, what="the finding that the storage is gone")
        began = time.monotonic()
        found = diagnose(client)
        assert time.monotonic() - began < 7
    assert {check: each["status"] for check, each in found.items()} == {
        "database": "fail", "storage": "fail", "disk": "fail", "broker": "warn", "auth": "warn",
    }  # fmt: skip


def test_a_broker_that_answers_is_well(client: TestClient, broker_url: str) -> None:
    settings = client.app.state.stillhouse.settings  # type: ignore[attr-defined]  # Starlette's
    with TestClient(create_app(settings.model_copy(update={"broker_url": broker_url}))) as other:
        assert diagnose(other)["broker"]["message"] == "The broker answers."


@pytest.mark.parametrize(("scope", "status"), [("submit", 403), ("admin", 200)])
def test_only_an_operator_is_told(
    database: Database, settings: Settings, scope: keys.Scope, status: int
) -> None:
    key = keys.draw()
    with database.write() as session:
        keys.add(session, key, tenant="default", scopes=[scope], name="k")
    app = create_app(settings.model_copy(update={"auth": "keys"}))
    with TestClient(app, headers={"authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/diagnosis").status_code == status
        assert client.get("/v1/diagnosis", headers={"authorization": ""}).status_code == 401
