"""Wait for a database that isn't there yet: whatever starts first waits for the rest."""

from __future__ import annotations

import logging
import math
import threading
import time

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.db import Database, trouble
from stillhouse.errors import Unavailable

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
SAY_SECONDS = 5.0
REFUSAL_SECONDS = 30.0  # a server that is being set up learns its users and databases meanwhile
REFUSALS = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf")


def wait(database: Database, *, refusal_seconds: float = REFUSAL_SECONDS) -> None:
    """Return when the database answers; every few seconds say that it doesn't.

    Raises `Unavailable` if it has answered for `refusal_seconds` that it won't let us in: a wrong
    password and a database that doesn't exist don't pass by themselves.
    """
    refrain, refused_since = Refrain(), math.inf
    while (error := _ask(database)) is not None:
        now = time.monotonic()
        refused_since = min(refused_since, now) if _refuses(error) else math.inf
        if now - refused_since > refusal_seconds:
            raise Unavailable(
                f"The database doesn't let us in: {reason(error)}. Check STILLHOUSE_DATABASE_URL."
            ) from error
        refrain.say("waiting for the database: %s", reason(error))
        threading.Event().wait(LOOK_SECONDS)
    refrain.end("the database is there")


def reason(error: DBAPIError) -> str:
    """What a database says, in one line."""
    return " ".join(str(error.orig).split())


class Refrain:
    """What is said again and again while something lasts, but only every few seconds."""

    def __init__(self) -> None:
        self._last = -math.inf

    def say(self, message: str, *arguments: object) -> None:
        """Log it, unless that was done a moment ago."""
        if time.monotonic() - self._last > SAY_SECONDS:
            self._last = time.monotonic()
            log.warning(message, *arguments)

    def end(self, message: str) -> None:
        """Log that it's over, if anything was said."""
        if self._last > -math.inf:
            log.info(message)


def _ask(database: Database) -> DBAPIError | None:
    try:
        with database.read() as session:
            session.execute(text("SELECT 1"))
    except DBAPIError as error:
        return error
    return None


def _refuses(error: DBAPIError) -> bool:
    said = str(error.orig).lower()
    return trouble(error) != "away" or any(sign in said for sign in REFUSALS)
