from pathlib import Path

import pytest
from alembic import command

from app import __main__ as program
from core import migrate


def test_a_check_says_what_is_missing_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'made' / 'x.db'}"
    monkeypatch.setenv("STILLHOUSE_DATABASE_URL", url)
    assert program.main(["migrate", "--check"]) == 1
    assert capsys.readouterr().out.count("missing: ") == len(migrate.revisions())
    assert not (tmp_path / "made").exists()

    command.upgrade(migrate.config(url), "0001")
    for _ in range(2):
        assert program.main(["migrate", "--check"]) == 1
        said = capsys.readouterr().out
        assert "missing: 0002 Keys" in said
        assert "0001" not in said

    assert program.main(["migrate"]) == 0
    assert program.main(["migrate", "--check"]) == 0
