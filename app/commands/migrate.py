"""Bring the database to this version's tables; the storage, too, if it can be made."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from core import logs, migrate, presence
from core.db import Database
from core.settings import Settings
from core.storage import open_storage
from stillhouse.errors import StillhouseError

log = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; say what is missing, and end with 1 if anything is",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Migrate, or say what a migration would do, and end."""
    logs.configure(settings)
    if arguments.check:
        return _check(settings.database)
    migrate.upgrade(settings.database)
    try:
        open_storage(settings).prepare()
    except StillhouseError as error:
        log.warning("the storage can't be made yet; the API tries again: %s", error.detail)
    return 0


def _check(url: str) -> int:
    try:
        lacks = list(migrate.revisions().values()) if _is_new_file(url) else _lacking(url)
    except DBAPIError as error:
        sys.stdout.write(f"the database doesn't answer: {presence.reason(error)}\n")
        return 1
    for each in lacks:
        sys.stdout.write(f"missing: {each}\n")
    if not lacks:
        sys.stdout.write("the database has all tables of this version\n")
    return 1 if lacks else 0


def _is_new_file(url: str) -> bool:
    """Whether to look at it would make it."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database is not None
    return is_file and not Path(str(parsed.database)).exists()


def _lacking(url: str) -> list[str]:
    database = Database(url)
    try:
        return migrate.lacking(database)
    finally:
        database.close()
