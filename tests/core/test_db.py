import gc
import socket
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from core.db import Database, db_now, trouble
from core.tables import Event, IdempotencyKey
from tests.stage import Stage


def key(name: str) -> IdempotencyKey:
    return IdempotencyKey(tenant="t", path="/p", key=name, body_sha256="0" * 64, object_id="job_1")


def test_the_databases_clock_tells_seconds_since_1970(database: Database) -> None:
    with database.read() as session:
        found = session.scalar(select(db_now()))
    assert found == pytest.approx(time.time(), abs=5)


def test_a_transaction_that_raises_leaves_nothing(stage: Stage) -> None:
    def break_off(session: Session) -> None:
        session.add(key("a"))
        session.flush()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stage.write(break_off)
    with stage.database.read() as session:
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 0


def test_many_writers_at_once_all_get_through(stage: Stage) -> None:
    troubles: list[Exception] = []

    def write(number: int) -> None:
        try:
            for each in range(10):
                stage.write(lambda session, name: session.add(key(name)), f"{number}/{each}")
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            troubles.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    with stage.database.read() as session:
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 80


def test_a_row_that_belongs_to_nothing_is_refused(stage: Stage) -> None:
    with pytest.raises(IntegrityError), stage.database.write() as session:
        session.add(Event(job="job_missing", type="t", message="m"))


def test_a_table_that_is_not_there_yet_waits_for_a_migration(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    with pytest.raises(OperationalError) as caught, database.read() as session:
        session.get(Event, 1)
    assert trouble(caught.value) == "behind"
    database.close()


def test_a_server_that_is_not_there_is_away() -> None:
    database = Database("postgresql://nobody@/nothing?host=/nowhere")
    with pytest.raises(OperationalError) as caught, database.read() as session:
        session.get(Event, 1)
    assert trouble(caught.value) == "away"
    database.close()


def test_a_server_that_says_nothing_leaves_no_connection_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        database = Database(f"postgresql://u:p@{address}/x?connect_timeout=2")
        gc.disable()  # it would close them, at some time
        try:
            with pytest.raises(OperationalError) as caught, database.read() as session:
                session.get(Event, 1)
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(10)
                while connection.recv(4096):
                    pass  # its first words; then it has hung up
        finally:
            gc.enable()
    assert trouble(caught.value) == "away"
    database.close()
