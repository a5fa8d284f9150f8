"""Back up database and files into a folder, while the service runs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from core import backup, logs, presence
from core.db import Database
from core.settings import Settings
from core.storage import open_storage


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new one, or a backup's")
    parser.add_argument(
        "--without-files",
        action="store_true",
        help="the database alone; what lies in the storage is backed up some other way",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Back up, and say what."""
    logs.configure(settings)
    began, database = time.monotonic(), Database(settings.database)
    try:
        presence.wait(database)
        made = backup.write(
            database,
            open_storage(settings),
            arguments.folder,
            with_files=not arguments.without_files,
        )
    finally:
        database.close()
    rows = sum(part.rows for part in made.tables.values())
    files = f"{made.files.rows} files" if made.files else "no files"
    sys.stdout.write(
        f"{made.tables['jobs'].rows} jobs ({rows} rows, {files}) are backed up in "
        f"{arguments.folder}, in {time.monotonic() - began:.1f} s\n"
    )
    return 0
