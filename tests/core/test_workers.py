import time

from sqlalchemy import select

from core import workers
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


def test_a_silent_worker_is_lost_and_one_that_left_at_once(stage: Stage) -> None:
    made = enrolled(stage, "a")
    # Its trainer may not start: until it says that it lives, it's counted by nobody.
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=60) == "lost"
    stage.write(workers.seen, made, status="busy", run="run_1")
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=60) == "busy"
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=-1) == "lost"
    stage.write(workers.leave, made)
    assert workers.status_of(stage.get(Worker, made), lost_after_seconds=60) == "lost"


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
