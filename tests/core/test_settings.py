from pathlib import Path

import pytest
from pydantic import ValidationError

from core import settings as settings_module
from core.settings import Settings


def test_each_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_PORT", "8123")
    monkeypatch.setenv("STILLHOUSE_DATABASE_URL", "postgresql://db/stillhouse")
    monkeypatch.setenv("STILLHOUSE_LEASE_SECONDS", "12.5")
    found = Settings()
    assert found.port == 8123
    assert found.database == "postgresql://db/stillhouse"
    assert found.lease_seconds == 12.5


def test_allowed_roots_stand_apart_by_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_ALLOWED_ROOTS", "/srv/a:/srv/b")
    assert Settings().roots == (Path("/srv/a"), Path("/srv/b"))


@pytest.mark.parametrize("value", [None, ""])
def test_without_allowed_roots_only_the_imports_folder_may_be_named(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("STILLHOUSE_ALLOWED_ROOTS", value)
    assert Settings(data_dir=tmp_path).roots == (tmp_path / "imports",)


def test_the_database_lives_in_the_data_folder(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).database == f"sqlite:///{tmp_path}/stillhouse.db"


def test_workers_poll_often_without_a_broker_and_seldom_beside_one() -> None:
    assert Settings().poll == 0.25
    assert Settings(broker_url="redis://broker/0").poll == 15.0
    assert Settings(broker_url="redis://broker/0", poll_seconds=3).poll == 3.0


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 70_000), ("lease_seconds", 0), ("auth", "maybe"), ("max_body_bytes", 1)],
)
def test_a_value_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: value})


def test_settings_do_not_change_under_way() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]  # that it's refused is what is tested


def test_the_description_names_every_variable() -> None:
    text = settings_module.describe()
    for name in Settings.model_fields:
        assert f"STILLHOUSE_{name.upper()}" in text
