import threading
from pathlib import Path

import pytest

from core import presence
from core.db import Database
from stillhouse.errors import Unavailable
from tests import mortals, servers, waiting


def test_a_database_that_comes_late_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with mortals.postgres() as server:
        server.kill()
        database = Database(server.url)
        patient = threading.Thread(target=presence.wait, args=(database,))
        patient.start()
        waiting.until(lambda: "waiting for the database" in caplog.text, what="a word")
        server.start()
        patient.join(30)
        assert not patient.is_alive()
        database.close()


def test_a_database_that_does_not_exist_is_not_waited_for_for_ever(postgres_server: str) -> None:
    database = Database(servers.with_database(postgres_server, "nobodys"))
    with pytest.raises(Unavailable, match=r'"nobodys" does not exist. Check STILLHOUSE_DATABASE_'):
        presence.wait(database, refusal_seconds=0.1)
    database.close()


def test_a_file_that_is_no_database_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database, but long enough to look like one" * 100)
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(Unavailable, match="file is not a database"):
        presence.wait(database, refusal_seconds=0.1)
    database.close()
