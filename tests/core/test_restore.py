"""A backup that somebody changed is refused before it does anything."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from core import dump, restore
from core.db import Database
from core.storage import Storage, digest
from stillhouse.errors import Refused
from tests.core.test_backup import rows_of, take
from tests.stage import Stage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.mark.parametrize("name", ["../secret", "A" * 64])
@pytest.mark.parametrize("of", ["files", "files.list"])
def test_a_name_that_is_no_hash_is_refused_before_any_row_is_restored(
    sqlite_stage: Stage, folder: Path, database: Database, name: str, of: str
) -> None:
    sqlite_stage.upload(b"an upload")
    made = take(sqlite_stage, folder)
    assert made.files is not None
    part = made.files if of == "files.list" else made.tables["files"]
    rows = [*dump.read(folder / part.path), {"sha256": name, "bytes": 1, "touched_at": 0.0}]
    with gzip.open(folder / part.path, "wt") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)
    changed = part.model_copy(update={"sha256": digest(folder / part.path)[0]})
    told = (
        {"files": changed} if of == "files.list" else {"tables": made.tables | {"files": changed}}
    )
    (folder / "backup.json").write_text(made.model_copy(update=told).model_dump_json())
    with pytest.raises(Refused, match="is no SHA-256"):
        restore.restore(database, sqlite_stage.storage, folder)
    assert rows_of(database)["files"] == []


def test_a_table_that_is_missing_is_named_before_anything_is_dropped(
    sqlite_stage: Stage, folder: Path, database: Database, storage: Storage
) -> None:
    sqlite_stage.upload(b"an upload")
    made = take(sqlite_stage, folder)
    Stage(database, storage).worker()
    before = rows_of(database)
    some = {name: part for name, part in made.tables.items() if name not in ("jobs", "runs")}
    (folder / "backup.json").write_text(made.model_copy(update={"tables": some}).model_dump_json())
    with pytest.raises(Refused, match="lacks the tables jobs, runs"):
        restore.restore(database, storage, folder)
    assert rows_of(database) == before
