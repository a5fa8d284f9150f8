"""The API over each kind of database, and a stage on which a worker is played."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from app.main import create_app
from core.db import Database
from core.settings import Settings
from core.storage import open_storage
from tests import servers, waiting
from tests.stage import Stage


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """For a module that overrides `database_url`: what it tests doesn't depend on the database."""
    path = tmp_path / "stillhouse.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    (tmp_path / "data" / "imports").mkdir(parents=True)
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        max_upload_bytes=8 * 1024 * 1024,
        max_body_bytes=64 * 1024,
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as opened:
        yield opened


@pytest.fixture
def stage(database: Database, settings: Settings) -> Stage:
    return Stage(database, open_storage(settings))


@pytest.fixture
def live_url(settings: Settings) -> Iterator[str]:
    """The API on a port, for what only sockets show."""
    port = servers.free_port()
    config = uvicorn.Config(create_app(settings), port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    waiting.until(lambda: server.started, what="the server")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
