"""Databases and servers for all tests; started once a session, on free ports."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import migrate
from core.db import Database
from tests import object_store, servers
from tests.object_store import ObjectStore


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    with servers.valkey() as url:
        yield url


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectStore]:
    with object_store.serving() as serving:
        yield serving


@pytest.fixture
def s3(object_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A server that speaks S3, named in the environment as an operator would."""
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    object_server.asked.clear()
    object_server.failed = 0
    yield object_server
    object_server.fails_every = None


@pytest.fixture
def bucket_url(s3: ObjectStore) -> str:
    """A place for a test's own files, where no bucket is yet."""
    del s3
    return f"s3://b{uuid.uuid4().hex}/some/prefix"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> str:
    url = servers.fresh_postgres_database(postgres_server)
    migrate.upgrade(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        path = tmp_path / "stillhouse.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("migrated_postgres")
    servers.empty_postgres_database(url)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()
