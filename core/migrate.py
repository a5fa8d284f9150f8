"""Bring a database to this version's tables, beside older replicas that go on using it.

A migration only adds what the version before doesn't mind, so both work on the newer tables;
what nobody uses any longer goes a version later. `tests/core/test_migrate.py` holds that.
"""

from __future__ import annotations

import logging
import threading
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from core import presence
from core.db import Database, trouble
from stillhouse.errors import Unavailable

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
PAUSES = (0.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each try


def config(url: str) -> Config:
    """Alembic's configuration for a database."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.set_main_option("path_separator", "os")
    made.attributes["url"] = url
    return made


def upgrade(url: str, revision: str = "head") -> None:
    """Run the migrations that a database lacks; a newer database is left as it is.

    A database that isn't there is waited for. A migration that can't get its lock within seconds
    lets the service pass and tries again. Raises `Unavailable` if that was in vain several times,
    or if the database doesn't let us in.
    """
    database, said = Database(url), ""
    try:
        for pause in PAUSES:
            threading.Event().wait(pause)
            presence.wait(database)
            error = _try(database, revision)
            if error is None:
                return
            said = presence.reason(error)
            log.warning("the migration was broken off and will be tried again: %s", said)
    finally:
        database.close()
    raise Unavailable(
        f"The database couldn't be migrated: {said}. The service goes on with its tables as they "
        "were; look for a long transaction that holds one, and try again."
    )


def wait(database: Database) -> None:
    """Return when a database is there and has this version's tables; others migrate it.

    Raises `Unavailable` if the database doesn't let us in.
    """
    refrain = presence.Refrain()
    while True:
        presence.wait(database)
        try:
            lacks = lacking(database)
        except DBAPIError as error:
            log.warning("the database went away: %s", presence.reason(error))
            continue
        if not lacks:
            break
        refrain.say("waiting for migrations (%s): `python -m app migrate`", "; ".join(lacks))
        threading.Event().wait(presence.LOOK_SECONDS)
    refrain.end("the database has its tables")


def lacking(database: Database) -> list[str]:
    """The migrations that a database lacks, oldest first: revision and what it is for.

    A database that is newer than this version lacks none.
    """
    with database.engine.connect() as connection:
        found = current(connection)
    known = revisions()
    if found is None:
        return list(known.values())
    if found not in known:
        return []
    names = list(known)
    return list(known.values())[names.index(found) + 1 :]


def is_newer(database: Database) -> bool:
    """Whether a newer version has migrated this database: the image was rolled back."""
    with database.engine.connect() as connection:
        found = current(connection)
    return found is not None and found not in revisions()


def current(connection: Connection) -> str | None:
    """The revision of a database; None before its first migration."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


@cache
def revisions() -> dict[str, str]:
    """This version's migrations, oldest first: revision to revision and purpose."""
    found = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())
    return {
        each.revision: f"{each.revision} {each.doc.partition('.')[0]}" for each in reversed(found)
    }


def _try(database: Database, revision: str) -> DBAPIError | None:
    try:
        command.upgrade(config(database.url), revision)
    except CommandError:
        if not is_newer(database):
            raise
        log.warning("a newer version has migrated this database; this one goes on with its tables")
    except DBAPIError as error:
        if trouble(error) != "away":
            raise
        return error
    return None
