import os
import subprocess
import sys
from pathlib import Path

from core import migrate
from core.db import Database
from core.storage import LocalStorage
from tests import servers
from tests.stage import Stage


def run(data: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=servers.CHECKOUT,
        env=os.environ | {"STILLHOUSE_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_data_folder_is_backed_up_and_restored_into_another(tmp_path: Path) -> None:
    here, there, folder = tmp_path / "here", tmp_path / "there", tmp_path / "backup"
    database = Database(f"sqlite:///{here / 'stillhouse.db'}")
    migrate.upgrade(database.url)
    Stage(database, LocalStorage(here / "storage")).job()
    database.close()
    said = run(here, "backup", folder)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("1 jobs (")

    assert run(there, "restore", folder).stdout == "1 jobs and 6 files are restored\n"
    again = run(there, "restore", folder)
    assert again.returncode == 2
    assert "The database isn't empty" in again.stderr
