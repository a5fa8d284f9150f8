import os
import subprocess
import sys
from pathlib import Path

from alembic import command

from core import migrate
from tests import servers


def run(url: str, *arguments: str) -> tuple[int, str]:
    """The exit status of `python -m app migrate`, and what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "app", "migrate", *arguments],
        cwd=servers.CHECKOUT,
        env=os.environ | {"STILLHOUSE_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def test_a_check_says_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'made' / 'x.db'}"
    status, said = run(url, "--check")
    assert (status, said.count("missing: ")) == (1, len(migrate.revisions()))
    assert not (tmp_path / "made").exists()

    command.upgrade(migrate.config(url), "0001")
    status, said = run(url, "--check")
    assert status == 1
    assert "missing: 0002 Keys" in said
    assert "0001" not in said

    migrate.upgrade(url)
    assert run(url, "--check") == (0, "the database has all tables of this version\n")
