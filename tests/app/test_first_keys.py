import logging
from pathlib import Path

import pytest

from app import first_keys
from core import keys
from core.settings import Settings
from core.tables import Key
from tests import stage as stage_module
from tests.stage import Stage


def ids(stage: Stage) -> list[str]:
    with stage.database.read() as session:
        return [row.id for row in session.query(Key).order_by(Key.id)]


def id_in(path: Path) -> str:
    presented = keys.read(path.read_text().strip())
    assert presented is not None
    return presented.id


def test_the_first_start_makes_an_admin_key_and_says_where(
    settings: Settings, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first_keys.let_in(settings)
    path = settings.data_dir / "admin.key"
    row = stage.get(Key, id_in(path))
    assert (row.scopes, row.tenant, row.name) == (["admin"], "default", "admin")
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(path.resolve()) in caplog.text
    assert path.read_text().strip() not in caplog.text


def test_later_starts_keep_it(settings: Settings, stage: Stage) -> None:
    first_keys.let_in(settings)
    first_keys.let_in(settings)
    assert ids(stage) == [id_in(settings.data_dir / "admin.key")]


def test_a_key_that_lies_there_is_let_in(settings: Settings, stage: Stage, tmp_path: Path) -> None:
    path, scrape = tmp_path / "given.key", tmp_path / "metrics.key"
    for file in (path, scrape):
        file.write_text(keys.draw() + "\n")
    update = {"admin_key_file": path, "metrics_key_file": scrape}
    first_keys.let_in(settings.model_copy(update=update))
    assert sorted(ids(stage)) == sorted([id_in(path), id_in(scrape)])
    row = stage.get(Key, id_in(scrape))
    assert (row.scopes, row.tenant) == (["read"], first_keys.MONITORING)


def test_replicas_that_start_together_agree_on_one(settings: Settings, stage: Stage) -> None:
    stage_module.at_once(4, lambda _number: first_keys.let_in(settings))
    assert ids(stage) == [id_in(settings.data_dir / "admin.key")]


def test_a_revoked_first_key_stays_revoked_and_the_log_says_so(
    settings: Settings, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    first_keys.let_in(settings)
    made = id_in(settings.data_dir / "admin.key")
    stage.key("admin")
    stage.write(keys.revoke, made)
    first_keys.let_in(settings)
    assert stage.get(Key, made).revoked_at is not None
    assert "revoked" in caplog.text


@pytest.mark.parametrize("content", ["", "sth_half", "password"])
def test_a_file_that_holds_no_key_is_named(settings: Settings, content: str) -> None:
    path = settings.data_dir / "admin.key"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"admin\.key holds no whole key"):
        first_keys.let_in(settings)
    assert path.read_text() == content


def test_a_file_that_can_not_be_made_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "admin.key"
    with pytest.raises(OSError, match="neither read nor made"):
        first_keys.let_in(settings.model_copy(update={"admin_key_file": path}))
