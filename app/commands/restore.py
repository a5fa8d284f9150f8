"""Put a backup into an empty database and its storage, which may be of other kinds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core import logs, restore
from core.db import Database
from core.settings import Settings
from core.storage import open_storage


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what `backup` wrote")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Restore, and say what."""
    logs.configure(settings)
    database = Database(settings.database)
    try:
        made = restore.restore(database, open_storage(settings), arguments.folder)
    finally:
        database.close()
    files = f"{made.files.rows} files" if made.files else "no files"
    sys.stdout.write(f"{made.tables['jobs'].rows} jobs and {files} are restored\n")
    return 0
