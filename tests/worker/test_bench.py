"""What takes long costs no lease, and what is published is never collected half-way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from core import files, leases, storage
from core.db import Database
from core.leases import Lease
from core.settings import Settings
from core.storage import LocalStorage
from core.tables import File, FileUse, Run
from stillhouse.errors import Unavailable
from tests import waiting
from tests.stage import Stage
from worker import errands
from worker.bench import Bench, Interrupted, LeaseNotProvable
from worker.protocol import File as Made


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Stage:
    return Stage(database, LocalStorage(tmp_path / "storage"))


def bench_of(stage: Stage, lease: Lease, **settings: Any) -> Bench:
    bench = Bench(
        lease=lease,
        database=stage.database,
        storage=stage.storage,
        settings=Settings(heartbeat_seconds=0.2, **settings),
        stopping=threading.Event(),
        folder=stage.storage.scratch / "work" / lease.run.id / str(lease.fence),
    )
    bench.work.mkdir(parents=True)
    return bench


def made(bench: Bench, content: bytes, path: str = "model.safetensors") -> Made:
    file = bench.work / path
    file.write_bytes(content)
    sha256, size = storage.digest(file)
    return {"path": path, "file": str(file), "sha256": sha256, "bytes": size}


def errand(work: Callable[[], object]) -> Future[object]:
    return errands.start(work, name="test")


def test_the_lease_is_kept_while_files_come(stage: Stage) -> None:
    stage.job()
    lease = stage.take(lease_seconds=1)
    bench = bench_of(stage, lease)
    began, gate = time.time(), threading.Event()

    def lease_ends() -> float:
        return stage.get(Run, lease.run.id).lease_expires_at

    def open_later() -> None:
        waiting.until(lambda: lease_ends() > began + 2.5, what="beats")
        gate.set()

    opener = threading.Thread(target=open_later)
    opener.start()
    assert bench.beside(lambda: gate.wait(30))
    opener.join()
    assert stage.write(leases.expire) == 0
    assert stage.beat(lease) == "continue"


def test_a_stop_and_a_cancel_interrupt_it(stage: Stage) -> None:
    job = stage.job()
    bench = bench_of(stage, stage.take())
    never = threading.Event()
    bench.stopping.set()
    with pytest.raises(Interrupted) as caught:
        bench.beside(lambda: never.wait(60))
    assert caught.value.order == "stop"
    bench.stopping.clear()
    stage.cancel(job)
    with pytest.raises(Interrupted) as caught:
        bench.beside(lambda: never.wait(60))
    assert caught.value.order == "cancel"
    bench.obey(caught.value.order)
    assert stage.status(job) == "cancelled"
    never.set()


def test_what_is_nearly_done_is_waited_for_after_a_stop(stage: Stage) -> None:
    stage.job()
    bench = bench_of(stage, stage.take())
    bench.stopping.set()
    gate = threading.Event()
    threading.Timer(0.5, gate.set).start()
    assert bench.follow(errand(lambda: gate.wait(30)), patience_seconds=30) is True


def test_a_file_on_its_way_is_collected_by_nobody(stage: Stage) -> None:
    stage.job()
    bench = bench_of(stage, stage.take())
    file = made(bench, b"weights")
    twin = stage.put(b"weights")  # an old twin lies there, needed by nobody
    stage.write(files.note_strays, [twin["sha256"]], until=0.0)
    bench.adopt(file)
    assert file["sha256"] not in stage.write(files.collect, untouched_since=time.time() + 1_000)
    assert stage.storage.has(file["sha256"])


def test_what_was_on_its_way_when_its_run_ended_goes(stage: Stage) -> None:
    stage.job()
    bench = bench_of(stage, stage.take())
    file = made(bench, b"weights")
    bench.adopt(file)
    bench.fail({"code": "diverged", "detail": "It diverged."})
    assert file["sha256"] in stage.write(files.collect, untouched_since=time.time() + 1_000)


def test_nothing_is_stored_in_the_name_of_a_claim_that_is_over(stage: Stage) -> None:
    stage.job()
    lease = stage.take()
    bench = bench_of(stage, lease)
    stage.write(leases.give_back, lease, reason="so")
    file = made(bench, b"weights")
    with pytest.raises(LeaseNotProvable):
        bench.adopt(file)
    with stage.database.read() as session:
        assert session.get(File, file["sha256"]) is None
        assert session.get(FileUse, (file["sha256"], lease.run.id, "content")) is None
    assert not stage.storage.has(file["sha256"])


def test_a_storage_that_is_away_costs_a_run_nothing_but_time(stage: Stage) -> None:
    stage.job()
    lease = stage.take()
    bench = bench_of(stage, lease)
    bench.fail({"code": Unavailable.code, "detail": "The object store is away."})
    run = stage.get(Run, lease.run.id)
    assert (run.status, run.losses, run.error) == ("queued", 0, None)
    assert run.not_before > time.time() + 10
