import threading
import time

from sqlalchemy import select

from core import leases, workers
from core.tables import Network, Worker
from tests.stage import Stage


def enrolled(stage: Stage, name: str) -> str:
    made: Worker = stage.write(
        workers.enrol, name=name, device="cpu", memory_bytes=1, software="1.0"
    )
    return made.id


def test_a_worker_keeps_its_id_over_restarts(stage: Stage) -> None:
    first = enrolled(stage, "a")
    stage.write(workers.seen, first, status="busy", run="run_1")
    assert enrolled(stage, "a") == first
    assert stage.get(Worker, first).run is None
    assert enrolled(stage, "b") != first


def test_a_silent_worker_is_lost_and_one_that_left_is_on_no_list(stage: Stage) -> None:
    made = enrolled(stage, "a")
    # Its trainer may not start: until it says that it lives, it's counted by nobody.
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=60) == "lost"
    stage.write(workers.seen, made, status="busy", run="run_1")
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=60) == "busy"
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=-1) == "lost"
    stage.write(workers.leave, made)
    with stage.database.read() as session:
        assert session.get(Worker, made) is None


def test_a_draining_worker_takes_nothing_new_and_finishes_what_it_has(stage: Stage) -> None:
    made = stage.worker()
    stage.job()
    lease = stage.take(worker=made)
    stage.validating_dataset()  # intake, too
    stage.write(workers.drain, made)
    stage.write(workers.drain, made)
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=60) == "draining"
    assert stage.beat(lease) == "continue"
    assert stage.end_well(lease) is not None
    assert stage.look(worker=made) is None
    stage.write(workers.undrain, made)
    assert stage.look(worker=made) is not None


def test_a_restart_ends_a_drain_and_a_lost_worker_is_lost(stage: Stage) -> None:
    made = enrolled(stage, "a")
    stage.write(workers.drain, made)
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=60) == "lost"
    enrolled(stage, "a")
    assert not stage.get(Worker, made).is_draining


def test_a_drain_answers_when_what_was_being_claimed_is_claimed(stage: Stage) -> None:
    made = stage.worker()
    stage.job()
    drain = threading.Thread(target=lambda: stage.write(workers.drain, made))
    with stage.database.write() as session:
        lease = leases.take(
            session, worker=made, device="cpu", devices=stage.devices, lease_seconds=60
        )
        assert lease is not None
        drain.start()
        drain.join(0.3)
        assert drain.is_alive()
    drain.join(20)
    assert stage.get(Worker, made).is_draining
    stage.end_well(lease)
    assert stage.look(worker=made) is None


def test_a_worker_is_forgotten_after_a_week(stage: Stage) -> None:
    old, young = enrolled(stage, "old"), enrolled(stage, "young")
    with stage.database.write() as session:
        row = session.get_one(Worker, old)
        row.last_seen_at = time.time() - workers.FORGOTTEN_SECONDS - 1
    stage.write(workers.forget_old)
    with stage.database.read() as session:
        assert list(session.scalars(select(Worker.id))) == [young]


def test_known_figures_of_a_network_stay(stage: Stage) -> None:
    stage.write(workers.publish_networks, [("timm", "resnet18", 11, 22)])
    stage.write(
        workers.publish_networks, [("timm", "resnet18", None, None), ("timm", "b", None, 3)]
    )
    row = stage.get(Network, ("timm", "resnet18"))
    assert (row.parameters, row.macs) == (11, 22)
    assert stage.get(Network, ("timm", "b")).parameters is None
