"""A stage over each kind of database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db import Database
from core.storage import LocalStorage, Storage
from tests.stage import Stage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def stage(database: Database, storage: Storage) -> Stage:
    return Stage(database, storage)


@pytest.fixture
def sqlite_stage(migrated_sqlite: Path, tmp_path: Path, storage: Storage) -> Iterator[Stage]:
    """For what doesn't depend on the database."""
    shutil.copy(migrated_sqlite, tmp_path / "one.db")
    database = Database(f"sqlite:///{tmp_path / 'one.db'}")
    yield Stage(database, storage)
    database.close()
